_base_ = ['detr_r101_500e.py', '_base_/models/dc5.py']

model = dict(backbone=_base_.dc5)
