# DN-DAB-Deformable-DETR with ResNet-50: four feature levels, deformable attention in encoder and decoder, a content
# query for each anchor, and predictors for each decoder layer.
_base_ = ['dab_detr_r50.py', 'denoising.py']

width = 256
levels = 4
deformable_attention = dict(embed_dims=width, num_heads=8, num_levels=levels, num_points=4, dropout=0.)
ffn = dict(
    embed_dims=width,
    feedforward_channels=2048,
    num_fcs=2,
    ffn_drop=0.,
    act_cfg=dict(type='ReLU', inplace=True))

model = dict(
    num_feature_levels=levels,
    learn_content=True,
    denoising=_base_.published_denoising,
    backbone=dict(out_indices=(1, 2, 3)),
    neck=dict(
        in_channels=[512, 1024, 2048],
        bias=True,
        norm_cfg=dict(type='GN', num_groups=32),
        num_outs=levels),
    encoder=dict(
        _delete_=True,
        type='DeformableEncoder',
        num_layers=6,
        layer_cfg=dict(self_attn_cfg=deformable_attention, ffn_cfg=ffn)),
    decoder=dict(
        _delete_=True,
        type='DeformableDABDecoder',
        num_layers=6,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=width, num_heads=8, batch_first=True),
            cross_attn_cfg=deformable_attention,
            ffn_cfg=ffn)),
    positional_encoding=dict(temperature=10000, offset=-0.5),
    bbox_head=dict(type='mmdet_setdet.DeformableDETRHead'),
    test_cfg=dict(max_per_img=100, nms={}))
