_base_ = 'semantic_fpn_crossformer_s_ade20k.py'

model = dict(
    backbone=dict(arch='large', init_cfg=dict(checkpoint='checkpoints/crossformer-l.pth')),
    neck=dict(in_channels=[128, 256, 512, 1024]))
