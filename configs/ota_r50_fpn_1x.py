# OTA (arXiv 2103.14259) on ResNet-50, 12 epochs.
_base_ = [
    '_base_/models/ota_r50_fpn.py',
    '_base_/datasets/coco_box_pillow.py',
    '_base_/schedules/schedule_ota_1x.py',
    '_base_/default_runtime.py',
]
