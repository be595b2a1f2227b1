_base_ = 'retinanet_crossformerpp_s_fpn_1x.py'

model = dict(
    backbone=_base_.crossformerpp_b,
    neck=dict(in_channels=[192, 384, 768]))
