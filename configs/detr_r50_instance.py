# DETR's instance segmentation: the mask head learns on the frozen detector that the authors publish.
_base_ = [
    '_base_/models/detr_r50.py',
    '_base_/models/mask_head.py',
    '_base_/datasets/coco_detection_masks.py',
    '_base_/schedules/schedule_masks_25e.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=_base_.finer_maps,
    mask_head=_base_.mask_head,
    freeze_detector=True)
load_from = 'detr+https://dl.fbaipublicfiles.com/detr/detr-r50-e632da11.pth'
