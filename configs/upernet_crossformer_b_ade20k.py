_base_ = 'upernet_crossformer_s_ade20k.py'

model = dict(backbone=dict(arch='base', init_cfg=dict(checkpoint='checkpoints/crossformer-b.pth')))
