# DETR with ResNet-50 (arXiv 2005.12872): the model alone.
_base_ = ['resnet50_c5.py', 'detr_matching.py']

width = 256
dropout = 0.1
attention = dict(
    embed_dims=width,
    num_heads=8,
    attn_drop=dropout,
    dropout_layer=dict(type='Dropout', drop_prob=dropout),
    batch_first=True)
ffn = dict(
    embed_dims=width,
    feedforward_channels=2048,
    num_fcs=2,
    ffn_drop=dropout,
    act_cfg=dict(type='ReLU', inplace=True))

model = dict(
    type='mmdet_setdet.DETR',
    num_queries=100,
    encoder=dict(num_layers=6, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
    decoder=dict(
        num_layers=6,
        layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)),
    positional_encoding=dict(num_feats=width // 2, normalize=True),
    bbox_head=dict(
        type='mmdet_setdet.DETRHead',
        num_classes=80,
        embed_dims=width,
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1., bg_cls_weight=0.1),
        loss_bbox=dict(type='L1Loss', loss_weight=5.),
        loss_iou=dict(type='GIoULoss', loss_weight=2.)),
    train_cfg=_base_.detr_matching,
    test_cfg=dict(max_per_img=100, nms={}))
