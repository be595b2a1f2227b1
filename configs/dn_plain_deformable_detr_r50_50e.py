# Deformable DETR as published, whose queries are no anchors, with denoising. Batch 32: 16 processes x 2 images.
_base_ = [
    '_base_/models/deformable_detr_r50.py',
    '_base_/models/denoising.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]

model = dict(denoising=_base_.published_denoising)
optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(custom_keys={
        'sampling_offsets': dict(lr_mult=0.1),
        'reference_points': dict(lr_mult=0.1),
    }))
auto_scale_lr = dict(base_batch_size=32)
