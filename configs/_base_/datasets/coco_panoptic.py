# COCO's panoptic maps with DETR's augmentation: every segment, thing or stuff, is an object with box and mask.
_base_ = 'coco_detection.py'

annotations = dict(type='mmdet_setdet.LoadPanopticAnnotations')
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    annotations,
    dict(type='RandomFlip', prob=0.5),
    _base_.resize_or_crop,
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PillowResize', scale=(1333, 800)),
    annotations,
    dict(type='PackDetInputs', meta_keys=meta_keys),
]

train_dataloader = dict(
    dataset=dict(
        type='CocoPanopticDataset',
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(seg='annotations/panoptic_train2017/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type='CocoPanopticDataset',
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(seg='annotations/panoptic_val2017/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

panoptic_quality = dict(
    type='mmdet_setdet.CocoPanopticMetric',
    ann_file=_base_.coco_root + '/annotations/panoptic_val2017.json',
    seg_prefix=_base_.coco_root + '/annotations/panoptic_val2017/')
val_evaluator = [
    panoptic_quality,
    dict(type='CocoMetric', ann_file=_base_.coco_val_file, metric=['bbox', 'segm']),
]
test_evaluator = val_evaluator
