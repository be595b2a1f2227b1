# Deformable DETR as published, whose queries are no anchors, with denoising. Batch 32: 16 processes x 2 images.
_base_ = [
    '_base_/models/deformable_detr_r50.py',
    '_base_/models/denoising.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_deformable_50e.py',
    '_base_/default_runtime.py',
]

model = dict(denoising=_base_.published_denoising)
