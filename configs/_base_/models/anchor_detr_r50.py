# Anchor DETR with ResNet-50 (arXiv 2109.07107): the model alone.
_base_ = 'conditional_detr_r50.py'

width = 256
attention = dict(_delete_=True, embed_dims=width, num_heads=8)
ffn = dict(feedforward_channels=1024, ffn_drop=0.)

model = dict(
    type='mmdet_setdet.AnchorDETR',
    num_queries=300,
    num_patterns=3,
    neck=dict(bias=True, norm_cfg=dict(type='GN', num_groups=32)),
    encoder=dict(layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
    decoder=dict(
        layer_cfg=dict(
            self_attn_cfg=dict(batch_first=True, **attention),
            cross_attn_cfg=attention,
            ffn_cfg=ffn)),
    # y and x of a token have a position of full width each.
    positional_encoding=dict(num_feats=width, offset=-0.5),
    # References are kept 1e-5 from 0 and 1, as in the authors' code.
    bbox_head=dict(eps=1e-5),
    train_cfg=dict(
        assigner=dict(
            match_costs=[
                dict(type='FocalLossCost', weight=2., eps=1e-8),
                dict(type='BBoxL1Cost', weight=5., box_format='xywh'),
                dict(type='IoUCost', iou_mode='giou', weight=2.),
            ])))
