# CrossFormer-S (arXiv 2108.00154) under Mask R-CNN, 36 epochs. The groups are those with which the published number of
# operations comes out: larger in the first two stages, and long distance groups span the map.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '_base_/coco_mask_multiscale.py', '_base_/schedule_crossformer_3x.py',
    '_base_/default_runtime.py'
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='CrossFormer',
        arch='small',
        attention='short-long-map',
        group_sizes=(14, 14, 7, 7),
        intervals=(16, 8, 2, 1),
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crossformer-s.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]))
