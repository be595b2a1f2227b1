# Mix-in for model.backbone: a ResNet-18 for the quick start, trained from scratch. It ends at stride 16, has half of
# ResNet-18's channels, and its batch norms learn.
resnet18_small = dict(
    type='mmdet_setdet.ResNet',
    depth=18,
    base_channels=32,
    num_stages=3,
    strides=(1, 2, 2),
    dilations=(1, 1, 1),
    norm_cfg=dict(type='BN'),
    norm_eval=False)
