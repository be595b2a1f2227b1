# CrossFormer-S (arXiv 2108.00154) under RetinaNet. Long distance groups span the map, as in the published detectors.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py', '_base_/coco_box.py', '_base_/schedule_crossformer_1x.py',
    '_base_/default_runtime.py'
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='CrossFormer',
        arch='small',
        attention='short-long-map',
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crossformer-s.pth')),
    neck=dict(in_channels=[192, 384, 768], start_level=0))
