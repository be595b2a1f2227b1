# 1200 steps of AdamW at 1e-3 with a warm-up and a cosine: convolutions learn generated images within minutes.
_base_ = '../shapes_runtime.py'

max_iters = 1200
warm_up = 100
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 3)
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.),
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0.))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm_up),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warm_up, end=max_iters, eta_min=0),
]
default_hooks = dict(checkpoint=dict(interval=max_iters))
