# Generated images of 128 pixels: nothing to download. Training and evaluation differ in the seed and share no image.
dataset_type = 'ShapesDataset'
image_size = 128
object_size = (0.25, 0.6)  # diameters of the objects as a share of the image: 32 to 77 pixels

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=[0.25] * 3, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(image_size, image_size), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    # CocoMetric without an annotation file takes the ground truth from `instances`.
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=0,  # images are painted once and kept; a worker would only take time from the 2 cores that train
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        num_images=4000,
        seed=0,
        image_size=image_size,
        object_size=object_size,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=0,  # images are painted once and kept; a worker would only take time from the 2 cores that train
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        num_images=500,
        seed=1_000_003,
        image_size=image_size,
        object_size=object_size,
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='CocoMetric', metric='bbox')
test_evaluator = val_evaluator
