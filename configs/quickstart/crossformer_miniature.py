# Overfits a few generated images (tools/quickstart/write_miniature.py imagenet FOLDER --images 8 1): what a new
# classifier should manage before anything else is asked of it. Evaluated on the same images.
_base_ = '../crossformer_t_imagenet.py'

image_size = 64
max_epochs = 40

model = dict(
    num_classes=6,
    in_channels=256,
    label_smoothing=0.,
    data_preprocessor=dict(augments=[]),
    backbone=dict(
        _delete_=True,
        type='CrossFormer',
        arch=dict(embed_dims=32, depths=(1, 1, 2, 1)),
        out_indices=(3, ),
        final_norm=True))

pipeline = [
    _base_.load_image,
    dict(type='PillowResize', scale=(image_size, 100_000), interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=image_size),
    dict(type='PackClassInputs'),
]
loading = dict(batch_size=16, num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=dict(pipeline=pipeline), **loading)
val_dataloader = dict(dataset=dict(pipeline=pipeline, data_prefix=dict(img_path='train')), **loading)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=max_epochs, val_interval=20)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=15),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=True, begin=0,
         end=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=3), checkpoint=dict(interval=max_epochs))
