# ADE20K's 150 classes, in crops of 512. The environment variable SETDET_ADE names the folder that holds images/ and
# annotations/. Tested as CrossFormer's authors do: sizes are stretched to multiples of 32; several scales with --tta.
_base_ = 'mmseg::_base_/datasets/ade20k.py'

data_root = '{{$SETDET_ADE:data/ade/ADEChallengeData2016}}'
scale = (2048, 512)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='ResizeToMultiple', size_divisor=32),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
img_ratios = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=tuple(int(ratio * side) for side in scale), keep_ratio=True)
             for ratio in img_ratios],
            [dict(type='ResizeToMultiple', size_divisor=32)],
            [dict(type='LoadAnnotations', reduce_zero_label=True)],
            [dict(type='PackSegInputs')],
        ]),
]

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
