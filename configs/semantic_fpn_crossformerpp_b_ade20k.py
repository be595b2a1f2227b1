_base_ = 'semantic_fpn_crossformerpp_s_ade20k.py'

model = dict(
    backbone=dict(arch='plus-base', init_cfg=dict(checkpoint='checkpoints/crossformerpp-b.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]))
