# OTA (arXiv 2103.14259) on ResNeXt-101 64x4d with deformable convolutions in its last two stages, 24 epochs.
# `tools/test.py --tta` tests 13 sizes of an image and their mirror images, as its authors do.
_base_ = 'ota_x101_fpn_2x.py'

model = dict(
    backbone=dict(
        dcn=dict(type='DCNv2', deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, False, True, True)))

# (Longest and shorter side of an image, range of the root of a box's area in the original image), in pixels.
tta_views = [
    ((3000, 400), (96, 10000)),
    ((3000, 500), (96, 10000)),
    ((3000, 600), (64, 10000)),
    ((3000, 640), (64, 10000)),
    ((3000, 700), (64, 10000)),
    ((3000, 900), (0, 10000)),
    ((3000, 1000), (0, 10000)),
    ((3000, 1100), (0, 256)),
    ((3000, 1200), (0, 256)),
    ((3000, 1300), (0, 192)),
    ((3000, 1400), (0, 192)),
    ((3000, 1800), (0, 96)),
    ((1333, 800), (0, 10000)),
]
tta_model = dict(
    type='ScaleRangeTTA',
    scale_ranges=[scale_range for _, scale_range in tta_views],
    max_per_img=300,
    test_cfg=dict(max_per_img=300))
tta_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=scale, keep_ratio=True, backend='pillow') for scale, _ in tta_views],
            [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)],
            [dict(type='LoadAnnotations', with_bbox=True)],
            [dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction'))],
        ]),
]
