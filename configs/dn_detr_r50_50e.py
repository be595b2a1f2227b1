# DN-DETR (arXiv 2203.01305): DAB-DETR with denoising.
_base_ = ['dab_detr_r50_50e.py', '_base_/models/denoising.py']

model = dict(denoising=_base_.published_denoising)
