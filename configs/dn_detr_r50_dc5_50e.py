_base_ = 'dn_detr_r50_50e.py'

model = dict(backbone=dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), contract_dilation=True))
