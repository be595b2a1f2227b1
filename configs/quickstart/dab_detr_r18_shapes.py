# The DN-DETR of the quick start without denoising: DAB-DETR.
_base_ = 'dn_detr_r18_shapes.py'

model = dict(denoising=None)
