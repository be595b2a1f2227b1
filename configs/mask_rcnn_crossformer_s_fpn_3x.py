# CrossFormer-S (arXiv 2108.00154) under Mask R-CNN, 36 epochs, with the groups of the published number of operations.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '_base_/models/crossformer.py',
    '_base_/datasets/coco_mask_multiscale.py',
    '_base_/schedules/schedule_crossformer_3x.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.crossformer_s, **_base_.wide_groups),
    neck=dict(in_channels=[96, 192, 384, 768]))
