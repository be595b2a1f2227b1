# DN-DAB-Deformable-DETR (v2 of the authors), 50 epochs.
_base_ = [
    '_base_/models/dn_deformable_detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]
