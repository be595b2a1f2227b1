_base_ = [
    '_base_/default_runtime.py', '_base_/coco_detection.py', '_base_/dn_deformable_detr_encoder_r50.py',
    '_base_/schedule_50e.py'
]

# Batch 16: 16 processes x 1 image, for cross attention over four levels takes memory.
train_dataloader = dict(batch_size=1)
