_base_ = 'dn_detr_r50_12e.py'

model = dict(
    num_patterns=3, backbone=dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), contract_dilation=True))
