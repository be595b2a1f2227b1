# CrossFormer++-S (arXiv 2303.06908) under Semantic FPN, with the groups of CrossFormer as in its authors' config.
_base_ = 'semantic_fpn_crossformer_s_ade20k.py'

model = dict(
    backbone=dict(
        arch='plus-small',
        group_sizes=(7, 7, 7, 7),
        intervals=(8, 4, 2, 1),
        init_cfg=dict(checkpoint='checkpoints/crossformerpp-s.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]))
