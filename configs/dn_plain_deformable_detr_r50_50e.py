# Deformable DETR as published, its queries no anchors, with denoising. Batch 32: 16 processes x 2 images.
_base_ = [
    '_base_/default_runtime.py', '_base_/coco_detection.py', '_base_/deformable_detr_r50.py',
    '_base_/schedule_50e.py'
]

model = dict(denoising=dict(num_groups=5, label_noise_scale=0.2, box_noise_scale=0.4))
optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(
        custom_keys={'sampling_offsets': dict(lr_mult=0.1), 'reference_points': dict(lr_mult=0.1)}))
auto_scale_lr = dict(base_batch_size=32)
