_base_ = [
    '_base_/default_runtime.py', '_base_/coco_detection.py', '_base_/detr_r50.py', '_base_/schedule_50e.py'
]

train_cfg = dict(max_epochs=150)
param_scheduler = [dict(type='MultiStepLR', begin=0, end=150, by_epoch=True, milestones=[100], gamma=0.1)]
