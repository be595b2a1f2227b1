# Anchor DETR, with denoising.
_base_ = ['anchor_detr_r50_50e.py', '_base_/models/denoising.py']

model = dict(denoising=_base_.published_denoising)
