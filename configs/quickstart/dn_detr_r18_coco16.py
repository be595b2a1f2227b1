# Overfits the first 16 images of COCO's training set, made small: what a new detector should manage before anything
# else is asked of it. Evaluated on the same images.
_base_ = 'dn_detr_r18_shapes.py'

num_images = 16
image_size = 256
load = dict(type='LoadImageFromFile')
annotations = dict(type='LoadAnnotations', with_bbox=True)
resize = dict(type='Resize', scale=(image_size, image_size), keep_ratio=True)
train_pipeline = [load, annotations, resize, dict(type='PackDetInputs')]
test_pipeline = [
    load, resize, annotations,
    # CocoMetric without an annotation file takes the ground truth of these images only, from `instances`.
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')),
]
dataset = dict(
    _delete_=True,
    type='CocoDataset',
    data_root='{{$SETDET_COCO:data/coco/}}',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    filter_cfg=dict(filter_empty_gt=False),
    indices=num_images)

model = dict(num_queries=60, bbox_head=dict(num_classes=80))
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline, **dataset))
val_dataloader = dict(batch_size=8, dataset=dict(pipeline=test_pipeline, test_mode=True, **dataset))
test_dataloader = val_dataloader

max_iters = 600
train_cfg = dict(max_iters=max_iters, val_interval=50)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters, T_max=max_iters - 100, eta_min=0),
]
default_hooks = dict(checkpoint=dict(interval=max_iters))
