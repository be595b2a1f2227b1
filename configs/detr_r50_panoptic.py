# DETR's panoptic segmentation (arXiv 2005.12872, section 4.4): the mask head learns on the frozen detector.
_base_ = [
    '_base_/models/detr_r50.py',
    '_base_/models/mask_head.py',
    '_base_/datasets/coco_panoptic.py',
    '_base_/schedules/schedule_masks_25e.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=_base_.finer_maps,
    bbox_head=dict(num_classes=133),
    mask_head=dict(num_things=80, **_base_.mask_head),
    freeze_detector=True)
load_from = 'work_dirs/detr_r50_panoptic_boxes/epoch_300.pth'
default_hooks = dict(checkpoint=dict(save_best='coco_panoptic/PQ', rule='greater'))
visualizer = dict(type='mmdet_setdet.PanopticVisualizer')
