# DAB-DETR (arXiv 2201.12329) on ResNet-50, 50 epochs.
_base_ = [
    '_base_/models/dab_detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]
