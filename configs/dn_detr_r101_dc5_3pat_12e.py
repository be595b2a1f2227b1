_base_ = ['dn_detr_r50_dc5_3pat_12e.py', '_base_/models/resnet101.py']

model = dict(backbone=_base_.resnet101)
