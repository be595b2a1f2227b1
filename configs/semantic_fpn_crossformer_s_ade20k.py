# CrossFormer-S (arXiv 2108.00154) under Semantic FPN: 80,000 iterations at batch 16 (4 x 4), with the groups of the
# published number of operations.
_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    '_base_/models/crossformer.py',
    '_base_/datasets/ade20k.py',
    '_base_/segmentation_runtime.py',
]

model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(_delete_=True, **_base_.crossformer_s, **_base_.wide_groups),
    neck=dict(in_channels=[96, 192, 384, 768]),
    decode_head=dict(num_classes=150))
