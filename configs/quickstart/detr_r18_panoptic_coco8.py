# A small DETR and its mask head, trained together from scratch, overfit the panoptic maps of 8 small images of COCO.
_base_ = ['detr_r18_shapes.py', '../_base_/datasets/coco8_panoptic.py']

model = dict(
    num_queries=20,
    backbone=dict(out_indices=(0, 1, 2)),
    bbox_head=dict(num_classes=133),
    mask_head=dict(
        type='mmdet_setdet.DETRMaskHead',
        in_channels=[64, 32],
        embed_dims=128,
        num_heads=8,
        num_things=80,
        unit_attention=True,
        chunk_size=100))
train_dataloader = dict(batch_size=4, dataset=_base_.coco8_train)
val_dataloader = dict(batch_size=8, dataset=_base_.coco8_test)
test_dataloader = val_dataloader
val_evaluator = _base_.coco8_quality
test_evaluator = val_evaluator

max_iters = 900
train_cfg = dict(max_iters=max_iters, val_interval=150)
optim_wrapper = dict(
    optimizer=dict(lr=4e-4),
    paramwise_cfg=dict(custom_keys=dict(mask_head=dict(lr_mult=2.5))))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters, eta_min=0),
]
default_hooks = dict(checkpoint=dict(interval=150, max_keep_ckpts=1))
visualizer = dict(type='mmdet_setdet.PanopticVisualizer')
