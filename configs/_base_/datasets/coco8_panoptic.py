# Eight images of COCO's training set with panoptic maps of 3 to 9 segments, made small: what masks should manage before
# anything else is asked of them. For training, and the same images for evaluation.
_base_ = 'coco_root.py'

load = dict(type='LoadImageFromFile')
annotations = dict(type='mmdet_setdet.LoadPanopticAnnotations')
resize = dict(type='Resize', scale=(192, 192), keep_ratio=True)
coco8_train = dict(
    _delete_=True,
    type='CocoPanopticDataset',
    data_root=_base_.coco_root,
    ann_file='annotations/panoptic_train2017.json',
    data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
    indices=[0, 1, 2, 13, 14, 16, 17, 23],
    pipeline=[load, annotations, resize, dict(type='PackDetInputs')])
coco8_test = dict(
    coco8_train,
    test_mode=True,
    pipeline=[
        load,
        resize,
        annotations,  # behind the resize: in the original image, on which results are drawn
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
    ])
coco8_quality = dict(
    _delete_=True,
    type='mmdet_setdet.CocoPanopticMetric',
    ann_file=_base_.coco_root + '/annotations/panoptic_train2017.json',
    seg_prefix=_base_.coco_root + '/annotations/panoptic_train2017/')
