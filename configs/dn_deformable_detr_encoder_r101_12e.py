_base_ = 'dn_deformable_detr_encoder_r50_12e.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='https://download.pytorch.org/models/resnet101-63fe2227.pth')))
