# A small Mask2Former with denoising learns generated images from scratch; model.panoptic_head.denoising=None: without.
_base_ = [
    '../_base_/models/mask2former_r50.py',
    '../_base_/models/resnet18_small.py',
    '../_base_/shapes_comparison.py',
]

width = 64
attention = dict(embed_dims=width, num_heads=4)
ffn = dict(embed_dims=width, feedforward_channels=2 * width)
model = dict(
    data_preprocessor=dict(batch_augments=None),
    backbone=dict(_delete_=True, out_indices=(0, 1, 2), **_base_.resnet18_small),
    panoptic_head=dict(
        type='DenoisingMask2FormerHead',
        denoising=dict(num_groups=5, label_noise_scale=0.2, box_noise_scale=0.4),
        in_channels=[32, 64, 128],
        strides=[4, 8, 16],
        feat_channels=width,
        out_channels=width,
        num_things_classes=6,
        num_queries=20,
        num_transformer_feat_level=2,
        pixel_decoder=dict(
            num_outs=2,
            norm_cfg=dict(num_groups=16),
            encoder=dict(
                num_layers=1,
                layer_cfg=dict(self_attn_cfg=dict(num_levels=2, **attention), ffn_cfg=ffn)),
            positional_encoding=dict(num_feats=width // 2)),
        positional_encoding=dict(num_feats=width // 2),
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)),
        loss_cls=dict(class_weight=[1.] * 6 + [0.1])),
    panoptic_fusion_head=dict(num_things_classes=6),
    train_cfg=dict(num_points=256),
    test_cfg=dict(max_per_image=20))
val_evaluator = test_evaluator = dict(metric=['bbox', 'segm'])
