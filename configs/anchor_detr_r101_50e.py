_base_ = ['anchor_detr_r50_50e.py', '_base_/models/resnet101.py']

model = dict(backbone=_base_.resnet101)
