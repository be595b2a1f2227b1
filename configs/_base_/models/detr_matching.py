# Mix-in for model.train_cfg: DETR's matching by class probability and boxes (arXiv 2005.12872, section 3.1).
detr_matching = dict(
    assigner=dict(
        type='mmdet_setdet.HungarianAssigner',
        match_costs=[
            dict(type='ClassificationCost', weight=1.),
            dict(type='BBoxL1Cost', weight=5., box_format='xywh'),
            dict(type='IoUCost', iou_mode='giou', weight=2.),
        ]))
