_base_ = 'upernet_crossformerpp_s_ade20k.py'

model = dict(
    backbone=dict(arch='plus-base', init_cfg=dict(checkpoint='checkpoints/crossformerpp-b.pth')),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
