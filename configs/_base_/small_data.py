# How a detector of the quick start learns a few hundred photographs: images 320 pixels wide or high, training counted
# in steps. `setdet train NAME --data FOLDER` replaces the data. A detector's config has most of these keys, which two
# bases may not share, so a config sets them from here by `globals().update(_base_.small_data)`.
_base_ = 'datasets/coco_small_images.py'

resize = dict(type='Resize', scale=(320, 320), keep_ratio=True)
flip = dict(type='RandomFlip', prob=0.5)
photos_train = dict(
    _base_.coco_train,
    pipeline=[_base_.load, _base_.annotations, flip, resize, _base_.pack])
photos_val = dict(
    _base_.coco_train,
    ann_file='annotations/instances_val2017.json',
    data_prefix=dict(img='val2017/'),
    test_mode=True,
    pipeline=[_base_.load, resize, *_base_.annotations_and_pack])

steps = 1200
warm_up_steps = 100
loading = dict(_delete_=True, batch_size=8, num_workers=0, persistent_workers=False)
val_loading = dict(sampler=dict(type='DefaultSampler', shuffle=False), dataset=photos_val, drop_last=False, **loading)
small_data = dict(
    train_dataloader=dict(sampler=dict(type='InfiniteSampler', shuffle=True), dataset=photos_train, **loading),
    val_dataloader=val_loading,
    test_dataloader=val_loading,
    train_cfg=dict(max_iters=steps, val_interval=steps // 6),
    optim_wrapper=dict(optimizer=dict(lr=7e-4)),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm_up_steps),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=warm_up_steps, end=steps, eta_min=0),
    ],
    # The schedule ends at a learning rate of 0, so that nothing is won by stopping early; the best is kept, too.
    default_hooks=dict(checkpoint=dict(interval=steps, save_best='coco/bbox_mAP')))
