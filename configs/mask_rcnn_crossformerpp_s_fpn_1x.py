# CrossFormer++-S (arXiv 2303.06908) under Mask R-CNN, with the groups of CrossFormer as in its authors' config.
_base_ = 'mask_rcnn_crossformer_s_fpn_1x.py'

model = dict(
    backbone=dict(**_base_.crossformerpp_s, **_base_.plain_groups),
    neck=dict(in_channels=[64, 128, 256, 512]))
