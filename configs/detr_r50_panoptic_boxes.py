# DETR learns the boxes of things and stuff: the first of two steps to panoptic segmentation.
_base_ = [
    '_base_/models/detr_r50.py',
    '_base_/datasets/coco_panoptic.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]

model = dict(bbox_head=dict(num_classes=133))
train_cfg = dict(max_epochs=300)
param_scheduler = [dict(type='MultiStepLR', begin=0, end=300, by_epoch=True, milestones=[200], gamma=0.1)]

# The objects of the images themselves, which are things, with the labels of all 133 classes.
val_evaluator = [dict(type='CocoMetric', metric='bbox')]
test_evaluator = val_evaluator
