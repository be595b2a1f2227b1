# A small CrossFormer under RetinaNet learns generated images from scratch within minutes on one CPU core. With the two
# configs that inherit from it, the ablation of its paper (arXiv 2108.00154, table 5) in miniature.
_base_ = ['../_base_/models/imagenet_pixels.py', '../_base_/schedules/schedule_shapes.py']

width = 64
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=1, **_base_.imagenet_pixels),
    # Images of 128 pixels make maps of 32, 16 and 8 tokens a side; the intervals spread a long distance group over the
    # whole of each.
    backbone=dict(
        type='CrossFormer',
        arch=dict(
            embed_dims=32,
            depths=(2, 2, 2),
            group_sizes=(4, 4, 4),
            intervals=(8, 4, 2)),
        out_indices=(2, ),
        drop_path_rate=0.),
    neck=dict(
        type='ChannelMapper',
        in_channels=[128],
        kernel_size=1,
        out_channels=width,
        norm_cfg=dict(type='GN', num_groups=16),
        num_outs=1),
    bbox_head=dict(
        type='RetinaHead',
        num_classes=6,
        in_channels=width,
        stacked_convs=1,
        feat_channels=width,
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=2, scales_per_octave=3, ratios=[1.], strides=[16]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        reg_decoded_bbox=True,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2., alpha=0.25, loss_weight=1.),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.)),
    train_cfg=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0.),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1),
    test_cfg=dict(
        nms_pre=1000,
        score_thr=0.01,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100))
