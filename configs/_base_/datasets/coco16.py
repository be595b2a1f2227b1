# The first 16 images of COCO's training set, made small: what a new detector should manage before anything else is
# asked of it. For training, and the same images with their objects for evaluation.
load = dict(type='LoadImageFromFile')
annotations = dict(type='LoadAnnotations', with_bbox=True)
resize = dict(type='Resize', scale=(256, 256), keep_ratio=True)
coco16_train = dict(
    _delete_=True,
    type='CocoDataset',
    data_root='{{$SETDET_COCO:data/coco/}}',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    filter_cfg=dict(filter_empty_gt=False),
    indices=16,
    pipeline=[load, annotations, resize, dict(type='PackDetInputs')])
coco16_test = dict(
    coco16_train,
    test_mode=True,
    pipeline=[
        # Boxes that are read behind the resize are those of the original image, on which results are drawn.
        load,
        resize,
        annotations,
        # CocoMetric without an annotation file takes the ground truth of these images only, from `instances`.
        dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')),
    ])
