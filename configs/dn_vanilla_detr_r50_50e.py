# The original DETR, with denoising.
_base_ = [
    '_base_/models/detr_r50.py',
    '_base_/models/denoising.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]

model = dict(denoising=_base_.published_denoising)
