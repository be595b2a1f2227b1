_base_ = ['detr_r50_panoptic.py', '_base_/models/resnet101.py']

model = dict(backbone=_base_.resnet101)
load_from = 'work_dirs/detr_r101_panoptic_boxes/epoch_300.pth'
