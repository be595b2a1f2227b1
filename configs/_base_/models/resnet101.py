# Mix-in for model.backbone: ResNet-101 in place of ResNet-50, the rest as it is.
resnet101 = dict(
    depth=101,
    init_cfg=dict(checkpoint='https://download.pytorch.org/models/resnet101-63fe2227.pth'))
