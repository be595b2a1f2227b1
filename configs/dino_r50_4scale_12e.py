# DINO (arXiv 2203.03605) with ResNet-50 on strides 8 to 64.
_base_ = [
    '_base_/models/dino_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_12e.py',
    '_base_/default_runtime.py',
]
