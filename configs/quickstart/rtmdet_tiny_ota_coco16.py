# RTMDet-tiny with OTA overfits 16 small images of COCO: mosaics and the 300 epochs are left out, the rest is mmdet's.
_base_ = ['../rtmdet_tiny_ota.py', '../_base_/coco16.py']

max_iters = 600
warm_up = 50
# Photos of any shape, where mmdet pads all to one.
model = dict(data_preprocessor=dict(pad_size_divisor=32), backbone=dict(init_cfg=None))
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='InfiniteSampler'),
    dataset={{_base_.coco16_train}})
val_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False, dataset={{_base_.coco16_test}})
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator

train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 6)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm_up),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warm_up, end=max_iters, T_max=max_iters - warm_up, eta_min=0),
]
custom_hooks = []
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(by_epoch=False, interval=max_iters))
log_processor = dict(by_epoch=False)
