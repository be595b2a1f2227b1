# The same on DN-DETR, trained before with dn_detr_r50_50e.
_base_ = [
    '_base_/models/dab_detr_r50.py',
    '_base_/models/denoising.py',
    '_base_/models/mask_head.py',
    '_base_/datasets/coco_detection_masks.py',
    '_base_/schedules/schedule_masks_25e.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=_base_.finer_maps,
    denoising=_base_.published_denoising,
    mask_head=_base_.mask_head,
    freeze_detector=True,
    test_cfg=dict(max_per_img=100))
load_from = 'work_dirs/dn_detr_r50_50e/epoch_50.pth'
