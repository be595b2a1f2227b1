# How a dense detector of mmdet learns the sixteen images: 600 steps, without its mosaics, its average of weights and
# its epochs. mmdet's configs have all of these keys, which two bases may not share, so a config sets them from here by
# `globals().update(_base_.coco16_dense)`.
_base_ = '../datasets/coco16.py'

max_iters = 600
warm_up = 50
loading = dict(batch_size=8, num_workers=0, persistent_workers=False)
endless = dict(type='InfiniteSampler')
coco16_dense = dict(
    train_dataloader=dict(sampler=endless, dataset=_base_.coco16_train, **loading),
    val_dataloader=dict(dataset=_base_.coco16_test, **loading),
    test_dataloader=dict(dataset=_base_.coco16_test, **loading),
    val_evaluator=dict(ann_file=None),
    test_evaluator=dict(ann_file=None),
    train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 6),
    optim_wrapper=dict(optimizer=dict(lr=1e-3)),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm_up),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=warm_up, end=max_iters, eta_min=0),
    ],
    custom_hooks=[],
    default_hooks=dict(
        logger=dict(interval=10),
        checkpoint=dict(by_epoch=False, interval=max_iters)),
    log_processor=dict(by_epoch=False))
