# What data sets of small images of COCO share: where they lie, and the steps of pipelines around the resize.
coco_train = dict(
    type='CocoDataset',
    data_root='{{$SETDET_COCO:data/coco/}}',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    filter_cfg=dict(filter_empty_gt=False))
load = dict(type='LoadImageFromFile')
annotations = dict(type='LoadAnnotations', with_bbox=True)
pack = dict(type='PackDetInputs')
# CocoMetric without an annotation file takes the ground truth of these images only, from `instances`. Boxes that are
# read behind the resize are those of the original image, on which results are drawn.
annotations_and_pack = [
    annotations,
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')),
]
