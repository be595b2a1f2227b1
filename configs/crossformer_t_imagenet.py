# CrossFormer-T (arXiv 2108.00154), ImageNet-1k.
_base_ = [
    '_base_/models/imagenet_pixels.py',
    '_base_/datasets/imagenet_classification.py',
    '_base_/schedules/schedule_300e.py',
]

model = dict(
    type='ImageClassifier',
    num_classes=1000,
    in_channels=512,
    label_smoothing=0.1,
    data_preprocessor=dict(
        non_blocking=True,
        augments=[
            dict(type='EraseRectangles', prob=0.25),
            dict(type='MixImages', mixup=0.8, cutmix=1.),
        ],
        **_base_.imagenet_pixels),
    backbone=dict(
        type='CrossFormer',
        arch='tiny',
        out_indices=(3, ),
        final_norm=True,
        drop_path_rate=0.1))
