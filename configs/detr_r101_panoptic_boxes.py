_base_ = ['detr_r50_panoptic_boxes.py', '_base_/models/resnet101.py']

model = dict(backbone=_base_.resnet101)
