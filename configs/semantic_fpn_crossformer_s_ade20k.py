# CrossFormer-S (arXiv 2108.00154) under Semantic FPN: 80,000 iterations at batch 16 (4 x 4). The groups
# are those with which the published number of operations comes out: larger in the first two stages, and long distance
# groups span the map.
_base_ = ['mmseg::_base_/models/fpn_r50.py', '_base_/ade20k.py', '_base_/segmentation_runtime.py']

model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        _delete_=True,
        type='CrossFormer',
        arch='small',
        attention='short-long-map',
        group_sizes=(14, 14, 7, 7),
        intervals=(16, 8, 2, 1),
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crossformer-s.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]),
    decode_head=dict(num_classes=150))
