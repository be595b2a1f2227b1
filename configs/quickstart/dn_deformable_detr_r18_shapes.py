# A small DN-Deformable-DETR in two stages that learns from few images. Several tokens learn each gt, as the cells of a
# dense head do.
_base_ = [
    '../_base_/models/dn_deformable_detr_r50.py',
    '../_base_/models/resnet18_small.py',
    '../_base_/schedules/schedule_shapes.py',
]

width = 128
levels = 3
deformable_attention = dict(embed_dims=width, num_levels=levels)
ffn = dict(embed_dims=width, feedforward_channels=2 * width)
model = dict(
    num_queries=60,
    num_feature_levels=levels,
    as_two_stage=True,
    proposal_assigner=dict(type='mmdet_setdet.SinkhornQueryAssigner'),
    denoising=dict(num_groups=4, label_noise_scale=0.2, box_noise_scale=0.4),
    backbone=dict(_delete_=True, out_indices=(1, 2), **_base_.resnet18_small),
    neck=dict(
        _delete_=True,
        type='FPN',
        in_channels=[64, 128],
        out_channels=width,
        num_outs=levels,
        add_extra_convs='on_output',
        norm_cfg=dict(type='GN', num_groups=32)),
    positional_encoding=dict(num_feats=width // 2),
    encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=deformable_attention, ffn_cfg=ffn)),
    decoder=dict(
        num_layers=3,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=width),
            cross_attn_cfg=deformable_attention,
            ffn_cfg=ffn)),
    bbox_head=dict(num_classes=6, embed_dims=width, loss_cls=dict(loss_weight=2.)))
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4), clip_grad=dict(max_norm=0.1))
