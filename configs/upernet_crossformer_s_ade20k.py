# CrossFormer-S (arXiv 2108.00154) under UPerNet: 160,000 iterations at batch 16 (8 x 2), norms of the backbone do
# not decay. Long distance groups span the map, as in the published segmentors.
_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    '_base_/models/crossformer.py',
    '_base_/datasets/ade20k.py',
    '_base_/segmentation_runtime.py',
]

model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(_delete_=True, attention='short-long-map', **_base_.crossformer_s),
    decode_head=dict(in_channels=[96, 192, 384, 768], num_classes=150),
    auxiliary_head=dict(in_channels=384, num_classes=150))

max_iters = 160000
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
optim_wrapper = dict(
    optimizer=dict(lr=6e-5, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type='PolyLR', eta_min=0., power=1., begin=1500, end=max_iters, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=max_iters // 10))
