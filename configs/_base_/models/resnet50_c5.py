# What DETRs with ResNet-50 share: the last feature map, of stride 32, with 256 channels.
_base_ = 'imagenet_pixels.py'

model = dict(
    data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=1, **_base_.imagenet_pixels),
    backbone=dict(
        type='mmdet_setdet.ResNet',
        depth=50,
        out_indices=(3, ),
        frozen_stages=1,
        init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth')),
    neck=dict(
        type='ChannelMapper',
        in_channels=[2048],
        kernel_size=1,
        out_channels=256,
        act_cfg=None,
        num_outs=1))
