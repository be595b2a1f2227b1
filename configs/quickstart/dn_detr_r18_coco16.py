# A small DN-DETR overfits 16 small images of COCO.
_base_ = ['dn_detr_r18_shapes.py', '../_base_/datasets/coco16.py']

model = dict(num_queries=60, bbox_head=dict(num_classes=80))
train_dataloader = dict(batch_size=8, dataset=_base_.coco16_train)
val_dataloader = dict(batch_size=8, dataset=_base_.coco16_test)
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=7e-4))
max_iters = 600
train_cfg = dict(max_iters=max_iters, val_interval=50)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters, eta_min=0),
]
default_hooks = dict(checkpoint=dict(interval=max_iters))
