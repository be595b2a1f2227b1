# CrossFormer++-S (arXiv 2303.06908) under RetinaNet. As its authors' detection configs, with the groups of CrossFormer
# instead of the progressive ones that it has on ImageNet.
_base_ = 'retinanet_crossformer_s_fpn_1x.py'

model = dict(
    backbone=dict(**_base_.crossformerpp_s, **_base_.plain_groups),
    neck=dict(in_channels=[128, 256, 512]))
