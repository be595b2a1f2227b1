# Smaller groups than S, or the published number of operations does not come out.
_base_ = 'semantic_fpn_crossformerpp_s_ade20k.py'

model = dict(
    backbone=dict(**_base_.crossformerpp_b, **_base_.plain_groups),
    neck=dict(in_channels=[96, 192, 384, 768]))
