# DETR on the images of the quick start; it learns far more slowly from scratch.
_base_ = ['dn_detr_r18_shapes.py', '../_base_/models/detr_matching.py']

width = 128
attention = dict(embed_dims=width, num_heads=8, batch_first=True)
ffn = dict(
    embed_dims=width,
    feedforward_channels=2 * width,
    num_fcs=2,
    act_cfg=dict(type='ReLU', inplace=True))
model = dict(
    _delete_=True,
    type='mmdet_setdet.DETR',
    num_queries=20,
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    positional_encoding=_base_.model.positional_encoding,
    encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
    decoder=dict(
        num_layers=3,
        layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)),
    bbox_head=dict(type='mmdet_setdet.DETRHead', num_classes=6, embed_dims=width),
    train_cfg=_base_.detr_matching,
    test_cfg=dict(max_per_img=100))
