_base_ = 'semantic_fpn_crossformer_s_ade20k.py'

model = dict(
    backbone=_base_.crossformer_l,
    neck=dict(in_channels=[128, 256, 512, 1024]))
