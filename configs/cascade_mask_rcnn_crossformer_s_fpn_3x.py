# CrossFormer-S (arXiv 2108.00154) under Cascade Mask R-CNN, 36 epochs, with the groups of Mask R-CNN's. The box heads
# are Swin's, four convolutions and one linear layer, with which the size is the published one.
_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    '_base_/models/crossformer.py',
    '_base_/datasets/coco_mask_multiscale.py',
    '_base_/schedules/schedule_crossformer_3x.py',
    '_base_/default_runtime.py',
]

box_head = dict(
    type='ConvFCBBoxHead',
    num_shared_convs=4,
    num_shared_fcs=1,
    in_channels=256,
    conv_out_channels=256,
    fc_out_channels=1024,
    roi_feat_size=7,
    num_classes=80,
    reg_class_agnostic=False,
    reg_decoded_bbox=True,
    norm_cfg=dict(type='SyncBN'),
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.),
    loss_bbox=dict(type='GIoULoss', loss_weight=10.))
model = dict(
    backbone=dict(_delete_=True, **_base_.crossformer_s, **_base_.wide_groups),
    neck=dict(in_channels=[96, 192, 384, 768]),
    roi_head=dict(bbox_head=[
        dict(box_head, bbox_coder=dict(
            type='DeltaXYWHBBoxCoder', target_means=[0.] * 4, target_stds=[centre, centre, size, size]))
        for centre, size in ((0.1, 0.2), (0.05, 0.1), (0.033, 0.067))
    ]))
