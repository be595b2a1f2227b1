# Deformable DETR with ResNet-50 (arXiv 2010.04159): the model alone. model.with_box_refine=True refines boxes,
# model.as_two_stage=True lets the encoder propose where to start.
_base_ = 'conditional_detr_r50.py'

width = 256
levels = 4
dropout = 0.1
self_attention = dict(
    embed_dims=width,
    num_heads=8,
    attn_drop=dropout,
    dropout_layer=dict(type='Dropout', drop_prob=dropout),
    batch_first=True)
deformable_attention = dict(
    embed_dims=width, num_heads=8, num_levels=levels, num_points=4, dropout=dropout, batch_first=True)
ffn = dict(
    embed_dims=width,
    feedforward_channels=1024,
    num_fcs=2,
    ffn_drop=dropout,
    act_cfg=dict(type='ReLU', inplace=True))

model = dict(
    type='mmdet_setdet.DeformableDETR',
    num_feature_levels=levels,
    with_box_refine=False,
    backbone=dict(out_indices=(1, 2, 3)),
    neck=dict(
        type='mmdet_setdet.ChannelMapper',
        in_channels=[512, 1024, 2048],
        norm_cfg=dict(type='GN', num_groups=32),
        num_outs=levels),
    encoder=dict(
        _delete_=True, num_layers=6, layer_cfg=dict(self_attn_cfg=deformable_attention, ffn_cfg=ffn)),
    decoder=dict(
        _delete_=True,
        num_layers=6,
        layer_cfg=dict(self_attn_cfg=self_attention, cross_attn_cfg=deformable_attention, ffn_cfg=ffn)),
    positional_encoding=dict(offset=-0.5),
    # References are kept 1e-5 from 0 and 1, as in the authors' code.
    bbox_head=dict(type='mmdet_setdet.DeformableDETRHead', eps=1e-5, init_cfg=None))
