_base_ = ['../_base_/default_runtime.py', '../_base_/shapes_detection.py', '../_base_/dab_detr_r50.py']

width = 128
layer = dict(
    self_attn_cfg=dict(embed_dims=width), ffn_cfg=dict(embed_dims=width, feedforward_channels=4 * width))
model = dict(
    num_queries=30,
    denoising=dict(num_groups=5, label_noise_scale=0.2, box_noise_scale=0.4),
    backbone=dict(
        _delete_=True,
        type='mmdet_setdet.ResNet',
        depth=18,
        base_channels=32,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2, ),
        norm_cfg=dict(type='BN'),
        norm_eval=False),
    neck=dict(in_channels=[128], out_channels=width, norm_cfg=dict(type='GN', num_groups=32)),
    encoder=dict(num_layers=2, layer_cfg=layer),
    decoder=dict(num_layers=3, layer_cfg=dict(cross_attn_cfg=dict(embed_dims=width), **layer)),
    positional_encoding=dict(num_feats=width // 2),
    bbox_head=dict(num_classes=6, embed_dims=width),
    test_cfg=dict(max_per_img=100))

max_iters = 4000
train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=1000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=200, end=max_iters, T_max=max_iters - 200, eta_min=0),
]
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(by_epoch=False, interval=max_iters))
log_processor = dict(by_epoch=False)
