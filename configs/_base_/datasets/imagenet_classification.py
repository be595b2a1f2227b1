# ImageNet-1k in folders, train/CLASS/*.JPEG and val/CLASS/*.JPEG, with the augmentation of DeiT, Swin and CrossFormer.
# The environment variable SETDET_IMAGENET moves every config to another place.
_base_ = '../default_runtime.py'

dataset_type = 'ImageFolder'
data_root = '{{$SETDET_IMAGENET:data/imagenet/}}'
backend_args = None
image_size = 224

# Pillow decodes and resizes, and rotation tags are not followed: as torchvision reads the images.
load_image = dict(
    type='LoadImageFromFile',
    imdecode_backend='pillow',
    color_type='color_ignore_orientation',
    backend_args=backend_args)
train_pipeline = [
    load_image,
    dict(type='RandomResizedCrop', size=image_size),
    dict(type='RandomFlip', prob=0.5),
    # Without colour jitter: timm leaves it out beside RandAugment, whatever the authors' config says.
    dict(type='PillowRandAugment'),
    dict(type='PackClassInputs'),
]
test_pipeline = [
    load_image,
    dict(type='PillowResize', scale=(image_size * 256 // 224, 100_000), interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=image_size),
    dict(type='PackClassInputs'),
]

# Images of one size are stacked by the workers, and cuDNN may try what is fastest for it.
env_cfg = dict(cudnn_benchmark=True)
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type, data_root=data_root, data_prefix=dict(img_path='train'), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    drop_last=False,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='val'),
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator

visualizer = dict(type='LabelVisualizer')
randomness = dict(seed=0)
