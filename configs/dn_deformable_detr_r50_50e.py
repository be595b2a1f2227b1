_base_ = [
    '_base_/default_runtime.py', '_base_/coco_detection.py', '_base_/dn_deformable_detr_r50.py',
    '_base_/schedule_50e.py'
]
