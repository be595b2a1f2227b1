# What the comparisons with and without denoising share: small generated images of a few objects with masks, and
# training from scratch within minutes on one CPU core.
_base_ = 'schedules/schedule_shapes.py'

image_size = 96
load = dict(type='LoadImageFromFile')
annotations = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
scenes = dict(image_size=image_size, max_objects=3, object_size=(0.35, 0.7), with_mask=True)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        num_images=2000,
        pipeline=[
            load,
            annotations,
            dict(type='RandomFlip', prob=[0.25] * 3, direction=['horizontal', 'vertical', 'diagonal']),
            dict(type='PackDetInputs'),
        ],
        **scenes))
val_dataloader = dict(
    batch_size=8,
    dataset=dict(
        num_images=200,
        pipeline=[
            load,
            dict(type='Resize', scale=(image_size, image_size), keep_ratio=True),
            annotations,
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')),
        ],
        **scenes))
test_dataloader = val_dataloader

max_iters = 600
warm_up = 50
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 6)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm_up),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warm_up, end=max_iters, eta_min=0),
]
default_hooks = dict(checkpoint=dict(interval=max_iters))
