_base_ = ['dn_detr_r50_12e.py', '_base_/models/dc5.py']

model = dict(num_patterns=3, backbone=_base_.dc5)
