_base_ = ['detr_r50_panoptic_boxes.py', '_base_/models/dc5.py']

model = dict(backbone=_base_.dc5)
