# The DN-DETR for photographs without denoising: DAB-DETR.
_base_ = 'dn_detr_r18_photos.py'

model = dict(denoising=None)
