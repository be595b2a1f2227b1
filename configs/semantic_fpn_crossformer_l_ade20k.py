# Larger groups in the first two stages, as in its authors' config.
_base_ = 'semantic_fpn_crossformer_s_ade20k.py'

model = dict(
    backbone=dict(
        arch='large',
        group_sizes=(14, 14, 7, 7),
        intervals=(16, 8, 2, 1),
        init_cfg=dict(checkpoint='checkpoints/crossformer-l.pth')),
    neck=dict(in_channels=[128, 256, 512, 1024]))
