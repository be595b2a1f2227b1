# CrossFormer-S (arXiv 2108.00154) under Mask R-CNN, 36 epochs.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '_base_/coco_mask_multiscale.py', '_base_/schedule_crossformer_3x.py',
    '_base_/default_runtime.py'
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='CrossFormer',
        arch='small',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crossformer-s.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]))
