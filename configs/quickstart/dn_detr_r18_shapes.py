# A DN-DETR that learns generated images from scratch in about 10 minutes on 2 CPU cores.
_base_ = [
    '../_base_/models/dab_detr_r50.py',
    '../_base_/models/resnet18_small.py',
    '../_base_/shapes_runtime.py',
]

width = 128
layer = dict(
    self_attn_cfg=dict(embed_dims=width),
    ffn_cfg=dict(embed_dims=width, feedforward_channels=2 * width))
# Anchors and memory are encoded alike, three waves across an image at most, so that attention can start local.
waves = dict(scale=3 * 6.2832, temperature=10)
model = dict(
    num_queries=20,
    denoising=dict(num_groups=4, label_noise_scale=0.2, box_noise_scale=0.4),
    backbone=dict(_delete_=True, out_indices=(2, ), **_base_.resnet18_small),
    neck=dict(
        in_channels=[128],
        out_channels=width,
        norm_cfg=dict(type='GN', num_groups=32)),
    positional_encoding=dict(num_feats=width // 2, offset=-0.5, **waves),
    encoder=dict(num_layers=1, layer_cfg=layer, unit_scale=True),
    decoder=dict(
        num_layers=3,
        layer_cfg=dict(cross_attn_cfg=dict(embed_dims=width), **layer),
        local_init=True,
        **waves),
    # Boxes are learnt sooner than classes here, so classes weigh twice.
    bbox_head=dict(num_classes=6, embed_dims=width, loss_cls=dict(loss_weight=2.)),
    test_cfg=dict(max_per_img=100))

max_iters = 2700
warm_up = 100
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 4)
optim_wrapper = dict(
    optimizer=dict(lr=1.2e-3, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm_up),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warm_up, end=max_iters, eta_min=0),
]
default_hooks = dict(checkpoint=dict(interval=max_iters))
