# Smaller groups than S, or the published number of operations does not come out.
_base_ = 'semantic_fpn_crossformerpp_s_ade20k.py'

model = dict(
    backbone=dict(
        arch='plus-base',
        group_sizes=(7, 7, 7, 7),
        intervals=(8, 4, 2, 1),
        init_cfg=dict(checkpoint='checkpoints/crossformerpp-b.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]))
