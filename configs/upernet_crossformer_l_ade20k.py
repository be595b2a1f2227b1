_base_ = 'upernet_crossformer_s_ade20k.py'

model = dict(
    backbone=_base_.crossformer_l,
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512))
