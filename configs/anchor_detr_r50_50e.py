# Anchor DETR (arXiv 2109.07107): anchor points with three patterns each, row-column attention.
_base_ = [
    '_base_/models/anchor_detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]

# The authors train with a batch of 8 (8 x 1).
train_dataloader = dict(batch_size=1)
auto_scale_lr = dict(base_batch_size=8)
