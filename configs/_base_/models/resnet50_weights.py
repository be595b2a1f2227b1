# Mix-in for model.backbone.init_cfg: torchvision's ResNet-50, by its address.
resnet50_weights = dict(
    type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth')
