_base_ = ['dn_deformable_detr_encoder_r50_12e.py', '_base_/models/resnet101.py']

model = dict(backbone=_base_.resnet101)
