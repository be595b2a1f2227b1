# The same without denoising: DAB-DETR.
_base_ = 'dn_detr_r18_coco16.py'

model = dict(denoising=None)
