_base_ = [
    '_base_/models/dn_deformable_detr_encoder_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]

# Batch 16: 16 processes x 1 image, for cross attention over four levels takes memory.
train_dataloader = dict(batch_size=1)
