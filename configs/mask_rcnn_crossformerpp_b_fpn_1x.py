_base_ = 'mask_rcnn_crossformerpp_s_fpn_1x.py'

model = dict(
    backbone=dict(arch='plus-base', init_cfg=dict(checkpoint='checkpoints/crossformerpp-b.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]))
