# An OTA (arXiv 2103.14259) that learns generated images from scratch within minutes on one CPU core. The configs that
# inherit from it differ in who is assigned to whom: the paper's comparison (table 3) in miniature.
_base_ = [
    '../_base_/models/imagenet_pixels.py',
    '../_base_/models/resnet18_small.py',
    '../_base_/schedules/schedule_shapes.py',
]

width = 64
model = dict(
    type='FCOS',
    data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32, **_base_.imagenet_pixels),
    backbone=dict(out_indices=(1, 2), **_base_.resnet18_small),
    neck=dict(
        type='FPN',
        in_channels=[64, 128],
        out_channels=width,
        num_outs=3,
        add_extra_convs='on_output',
        norm_cfg=dict(type='GN', num_groups=16)),
    bbox_head=dict(
        type='OTAHead',
        num_classes=6,
        in_channels=width,
        feat_channels=width,
        stacked_convs=2,
        strides=[8, 16, 32],
        norm_cfg=dict(type='GN', num_groups=16)),
    train_cfg=dict(assigner=dict(type='OTAAssigner')),
    test_cfg=dict(
        nms_pre=1000,
        score_thr=0.01,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100))

# Up to ten objects of 19 to 64 pixels: many overlap.
crowd = dict(max_objects=10, object_size=(0.15, 0.5))
train_dataloader = dict(dataset=crowd)
val_dataloader = dict(dataset=crowd)
test_dataloader = val_dataloader
