# COCO boxes and masks for long schedules: resized, or cropped and resized, with the shorter side from 480 to 800.
_base_ = ['coco_mask.py', 'random_sizes.py']

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    _base_.resize_or_crop_to_1333,
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
