# Mix-in: DETR's mask head (arXiv 2005.12872, section 4.4) for ResNet-50 and 101, and the backbone's maps that it reads.
mask_head = dict(
    type='mmdet_setdet.DETRMaskHead',
    in_channels=[1024, 512, 256],
    embed_dims=256,
    num_heads=8,
    loss_mask=dict(type='FocalLoss', use_sigmoid=True, gamma=2., alpha=0.25, loss_weight=1.),
    loss_dice=dict(type='DiceLoss', use_sigmoid=True, naive_dice=True, eps=1., loss_weight=1.))
finer_maps = dict(out_indices=(0, 1, 2, 3))
