_base_ = 'upernet_crossformerpp_s_ade20k.py'

model = dict(
    backbone=_base_.crossformerpp_b,
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
