_base_ = 'mask_rcnn_crossformer_s_fpn_3x.py'

model = dict(backbone=_base_.crossformer_b)
