# Mix-in for the models of Faster R-CNN and Mask R-CNN: what makes them small enough for generated images.
_base_ = 'resnet18_small.py'

width = 64
strides = [8, 16]
roi_extractor = dict(
    roi_layer=dict(sampling_ratio=1), out_channels=width, featmap_strides=strides, finest_scale=28)
rcnn_small = dict(
    backbone=dict(_delete_=True, out_indices=(1, 2), **_base_.resnet18_small),
    neck=dict(
        in_channels=[64, 128],
        out_channels=width,
        num_outs=len(strides) + 1,
        norm_cfg=dict(type='GN', num_groups=16)),
    rpn_head=dict(
        in_channels=width,
        feat_channels=width,
        anchor_generator=dict(scales=[3], strides=[*strides, 32])),
    roi_head=dict(
        type='DenoisingRoIHead',
        denoising=dict(num_groups=5, box_noise_scale=0.4),
        bbox_roi_extractor=roi_extractor,
        bbox_head=dict(in_channels=width, fc_out_channels=256, num_classes=6)),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=100, max_per_img=50),
        rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(
        rpn=dict(nms_pre=100, max_per_img=50),
        rcnn=dict(score_thr=0.01)))
