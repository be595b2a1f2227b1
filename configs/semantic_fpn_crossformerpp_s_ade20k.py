# CrossFormer++-S (arXiv 2303.06908) under Semantic FPN, with the groups of CrossFormer-S there.
_base_ = 'semantic_fpn_crossformer_s_ade20k.py'

model = dict(
    backbone=_base_.crossformerpp_s,
    neck=dict(in_channels=[64, 128, 256, 512]))
