# CrossFormer++-S (arXiv 2303.06908) under RetinaNet. As its authors' detection configs, with the groups of CrossFormer
# instead of the progressive ones that it has on ImageNet.
_base_ = 'retinanet_crossformer_s_fpn_1x.py'

model = dict(
    backbone=dict(
        arch='plus-small',
        group_sizes=(7, 7, 7, 7),
        intervals=(8, 4, 2, 1),
        init_cfg=dict(checkpoint='checkpoints/crossformerpp-s.pth')),
    neck=dict(in_channels=[128, 256, 512]))
