_base_ = ['anchor_detr_r50_50e.py', '_base_/models/dc5.py']

model = dict(backbone=_base_.dc5)
