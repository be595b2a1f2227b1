_base_ = ['detr_r50_panoptic.py', '_base_/models/dc5.py']

model = dict(backbone=_base_.dc5)
load_from = 'work_dirs/detr_r50_dc5_panoptic_boxes/epoch_300.pth'
