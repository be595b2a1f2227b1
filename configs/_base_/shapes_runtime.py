# What the quick start's detectors share: generated images, and training counted in steps instead of epochs.
_base_ = ['default_runtime.py', 'datasets/shapes_detection.py']

train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True))
train_cfg = dict(type='IterBasedTrainLoop')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', fused=True),
    clip_grad=dict(norm_type=2))
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(by_epoch=False, save_best=None))
log_processor = dict(by_epoch=False)
