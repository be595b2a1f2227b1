# The OTA of the quick start as an ATSS: positives by the statistics of the IoU of one square anchor a place.
_base_ = 'ota_r18_shapes.py'

width = 64
model = dict(
    type='ATSS',
    bbox_head=dict(
        _delete_=True,
        type='ATSSHead',
        num_classes=6,
        in_channels=width,
        feat_channels=width,
        stacked_convs=2,
        norm_cfg=dict(type='GN', num_groups=16),
        # Anchors of 24, 48 and 96 pixels suit objects of 19 to 64.
        anchor_generator=dict(
            type='AnchorGenerator',
            ratios=[1.],
            octave_base_scale=3,
            scales_per_octave=1,
            strides=[8, 16, 32]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2., alpha=0.25, loss_weight=1.),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.)),
    train_cfg=dict(
        _delete_=True,
        assigner=dict(type='ATSSAssigner', topk=9),
        allowed_border=-1,
        pos_weight=-1))
