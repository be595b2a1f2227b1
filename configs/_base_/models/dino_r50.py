# DINO with ResNet-50 (arXiv 2203.03605) on four scales: the model alone.
_base_ = 'dn_deformable_detr_r50.py'

model = dict(
    type='mmdet_setdet.DINO',
    num_queries=900,
    learn_content=True,
    denoising=None,
    # Contrastive: the groups share 100 noised objects per image, and as many that are to be rejected.
    dn_cfg=dict(
        label_noise_scale=0.5,
        box_noise_scale=1.0,
        group_cfg=dict(dynamic=True, num_dn_queries=100)),
    neck=dict(type='mmdet_setdet.ChannelMapper'),
    decoder=dict(type='mmdet_setdet.DINODecoder'),
    positional_encoding=dict(temperature=20, offset=0.),
    bbox_head=dict(type='mmdet_setdet.DINOHead'),
    test_cfg=dict(max_per_img=300, nms={}))
