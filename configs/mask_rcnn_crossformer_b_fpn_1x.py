_base_ = 'mask_rcnn_crossformer_s_fpn_1x.py'

model = dict(backbone=dict(arch='base', init_cfg=dict(checkpoint='checkpoints/crossformer-b.pth')))
