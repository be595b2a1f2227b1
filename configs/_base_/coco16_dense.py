# How a dense detector of mmdet learns the sixteen images: 600 steps, without its mosaics, its average of weights and
# its epochs. A config takes these parts by name, since its other base has the same keys.
_base_ = 'coco16.py'

max_iters = 600
warm_up = 50
coco16_loading = dict(batch_size=8, num_workers=0, persistent_workers=False)
coco16_train_dataloader = dict(
    coco16_loading, sampler=dict(type='InfiniteSampler'), dataset={{_base_.coco16_train}})
coco16_val_dataloader = dict(coco16_loading, dataset={{_base_.coco16_test}})
coco16_train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 6)
coco16_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm_up),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warm_up, end=max_iters, T_max=max_iters - warm_up, eta_min=0),
]
coco16_hooks = dict(logger=dict(interval=10), checkpoint=dict(by_epoch=False, interval=max_iters))
