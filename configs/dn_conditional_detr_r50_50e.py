# Conditional DETR, with denoising.
_base_ = [
    '_base_/default_runtime.py', '_base_/coco_detection.py', '_base_/conditional_detr_r50.py',
    '_base_/schedule_50e.py'
]

model = dict(denoising=dict(num_groups=5, label_noise_scale=0.2, box_noise_scale=0.4))
