# OTA (arXiv 2103.14259) on ResNeXt-101 64x4d, 24 epochs. The first weights are torchvision's style: RGB images.
_base_ = ['ota_r101_fpn_2x.py', '_base_/models/imagenet_pixels.py']

model = dict(
    data_preprocessor=_base_.imagenet_pixels,
    backbone=dict(
        _delete_=True,
        type='ResNeXt',
        depth=101,
        groups=64,
        base_width=4,
        out_indices=(1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnext101_64x4d')))
