# The OTA of the quick start as an FCOS: a level by an object's size, positives by centre sampling.
_base_ = 'ota_r18_shapes.py'

model = dict(
    bbox_head=dict(
        type='FCOSHead',
        norm_on_bbox=True,
        centerness_on_reg=True,
        center_sampling=True,
        # The objects' sizes over three levels, as FCOS's own ranges spread COCO's over five.
        regress_ranges=((-1, 24), (24, 48), (48, 1e8)),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.)),
    train_cfg=None)
