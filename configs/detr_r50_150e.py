# DETR (arXiv 2005.12872) on ResNet-50, 150 epochs.
_base_ = [
    '_base_/models/detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]

train_cfg = dict(max_epochs=150)
param_scheduler = [dict(type='MultiStepLR', begin=0, end=150, by_epoch=True, milestones=[100], gamma=0.1)]
