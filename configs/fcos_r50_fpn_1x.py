# mmdet's FCOS with all but the assignment and what follows from it as in ota_r50_fpn_1x.py, to compare with.
_base_ = 'ota_r50_fpn_1x.py'

model = dict(
    bbox_head=dict(
        _delete_=True,
        type='FCOSHead',
        num_classes=80,
        in_channels=256,
        strides=[8, 16, 32, 64, 128],
        conv_bias=True,
        norm_on_bbox=True,
        centerness_on_reg=True,
        center_sampling=True,
        loss_bbox=dict(type='GIoULoss')),
    train_cfg=None)
