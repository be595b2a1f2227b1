_base_ = 'detr_r101_500e.py'

model = dict(backbone=dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), contract_dilation=True))
