# Conditional DETR with ResNet-50 (arXiv 2108.06152): the model alone.
_base_ = 'detr_r50.py'

attention = dict(_delete_=True, embed_dims=256, num_heads=8, attn_drop=0.1, proj_drop=0.1)

model = dict(
    type='mmdet_setdet.ConditionalDETR',
    num_queries=300,
    decoder=dict(
        layer_cfg=dict(
            self_attn_cfg=dict(cross_attn=False, **attention),
            cross_attn_cfg=dict(cross_attn=True, **attention))),
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='FocalLoss',
            use_sigmoid=True,
            gamma=2.,
            alpha=0.25,
            loss_weight=2.),
        # A box starts in the middle of its range, around its reference point: fc_reg alone is initialised.
        init_cfg=dict(
            type='Constant',
            val=0.,
            bias=0.,
            layer=[],
            override=dict(name='fc_reg'))),
    train_cfg=dict(
        assigner=dict(
            match_costs=[
                dict(type='FocalLossCost', weight=2.),
                dict(type='BBoxL1Cost', weight=5., box_format='xywh'),
                dict(type='IoUCost', iou_mode='giou', weight=2.),
            ])))
