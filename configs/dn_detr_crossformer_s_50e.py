# DN-DETR on CrossFormer-S. The transformer sees stride 32, as with ResNet-50, so that its cost and its schedule are the
# same and the backbone is all that differs.
_base_ = ['dn_detr_r50_50e.py', '_base_/models/crossformer.py']

model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(_delete_=True, out_indices=(3, ), **_base_.crossformer_s),
    neck=dict(in_channels=[768]))
