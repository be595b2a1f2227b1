# DINO on strides 4 to 64. The authors train it on 16 processes with an image each.
_base_ = 'dino_r50_4scale_12e.py'

levels = 5
model = dict(
    num_feature_levels=levels,
    backbone=dict(out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[256, 512, 1024, 2048], num_outs=levels),
    encoder=dict(layer_cfg=dict(self_attn_cfg=dict(num_levels=levels))),
    decoder=dict(layer_cfg=dict(cross_attn_cfg=dict(num_levels=levels))))
train_dataloader = dict(batch_size=1)
