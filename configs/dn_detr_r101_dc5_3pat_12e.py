_base_ = 'dn_detr_r50_dc5_3pat_12e.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='https://download.pytorch.org/models/resnet101-63fe2227.pth')))
