_base_ = 'upernet_crossformer_s_ade20k.py'

model = dict(
    backbone=dict(arch='large', init_cfg=dict(checkpoint='checkpoints/crossformer-l.pth')),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512))
