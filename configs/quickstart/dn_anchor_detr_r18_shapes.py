# A small Anchor DETR with denoising learns generated images from scratch; model.denoising=None: without.
_base_ = [
    '../_base_/models/anchor_detr_r50.py',
    '../_base_/models/resnet18_small.py',
    '../_base_/shapes_comparison.py',
]

width = 128
attention = dict(embed_dims=width)
ffn = dict(embed_dims=width, feedforward_channels=2 * width)
model = dict(
    num_queries=30,
    num_patterns=1,
    denoising=dict(num_groups=5, label_noise_scale=0.2, box_noise_scale=0.4),
    backbone=dict(_delete_=True, out_indices=(2, ), **_base_.resnet18_small),
    neck=dict(in_channels=[128], out_channels=width),
    positional_encoding=dict(num_feats=width),
    encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
    decoder=dict(
        num_layers=3,
        layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)),
    bbox_head=dict(num_classes=6, embed_dims=width))
optim_wrapper = dict(optimizer=dict(lr=7e-4, weight_decay=1e-4), clip_grad=dict(max_norm=0.1))

# From scratch a DETR takes longer to look where its points are than an R-CNN, which pools there.
max_iters = 2000
warm_up = 100
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 5)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm_up),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warm_up, end=max_iters, eta_min=0),
]
default_hooks = dict(checkpoint=dict(interval=max_iters))
