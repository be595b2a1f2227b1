# DAB-DETR with ResNet-50 (arXiv 2201.12329): the model alone; DN-DETR is this with model.denoising.
_base_ = 'resnet50_c5.py'

width = 256
attention = dict(embed_dims=width, num_heads=8, attn_drop=0., proj_drop=0.)
ffn = dict(
    embed_dims=width,
    feedforward_channels=2048,
    num_fcs=2,
    ffn_drop=0.,
    act_cfg=dict(type='PReLU'))

model = dict(
    type='mmdet_setdet.DABDETR',
    num_queries=300,
    num_patterns=0,
    encoder=dict(
        num_layers=6,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=width, num_heads=8, batch_first=True),
            ffn_cfg=ffn)),
    decoder=dict(
        num_layers=6,
        layer_cfg=dict(
            self_attn_cfg=dict(cross_attn=False, **attention),
            cross_attn_cfg=dict(cross_attn=True, **attention),
            ffn_cfg=ffn)),
    positional_encoding=dict(num_feats=width // 2, temperature=20, normalize=True),
    bbox_head=dict(
        type='mmdet_setdet.DABDETRHead',
        num_classes=80,
        embed_dims=width,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2., alpha=0.25, loss_weight=1.),
        loss_bbox=dict(type='L1Loss', loss_weight=5.),
        loss_iou=dict(type='GIoULoss', loss_weight=2.)),
    train_cfg=dict(
        assigner=dict(
            type='mmdet_setdet.HungarianAssigner',
            match_costs=[
                dict(type='FocalLossCost', weight=2., eps=1e-8),
                dict(type='BBoxL1Cost', weight=5., box_format='xywh'),
                dict(type='IoUCost', iou_mode='giou', weight=2.),
            ])),
    test_cfg=dict(max_per_img=300, nms={}))
