# OTA (arXiv 2103.14259): FCOS's towers on caffe-style ResNet-50 and FPN, as its authors build them.
model = dict(
    type='FCOS',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[103.53, 116.28, 123.675],
        std=[1., 1., 1.],
        bgr_to_rgb=False,
        pad_size_divisor=32),
    backbone=dict(
        type='mmdet_setdet.ResNet',
        depth=50,
        style='caffe',
        out_indices=(1, 2, 3),
        frozen_stages=1,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://detectron2/resnet50_caffe')),
    neck=dict(
        type='FPN',
        in_channels=[512, 1024, 2048],
        out_channels=256,
        num_outs=5,
        add_extra_convs='on_output',
        relu_before_extra_convs=True,
        init_cfg=dict(type='Caffe2Xavier', layer='Conv2d')),
    bbox_head=dict(
        type='OTAHead',
        num_classes=80,
        in_channels=256,
        strides=[8, 16, 32, 64, 128],
        conv_bias=True,
        point_offset=0.),
    train_cfg=dict(assigner=dict(type='OTAAssigner')),
    test_cfg=dict(
        nms_pre=1000,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100))
