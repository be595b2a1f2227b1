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
