# DINO with Swin-L, which was trained on ImageNet-22k at 384x384.
_base_ = 'dino_r50_4scale_12e.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        pretrain_img_size=384,
        embed_dims=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        window_size=12,
        drop_path_rate=0.2,
        out_indices=(1, 2, 3),
        with_cp=True,  # less memory for more time
        convert_weights=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
            'swin_large_patch4_window12_384_22k.pth')),
    neck=dict(in_channels=[384, 768, 1536]))
