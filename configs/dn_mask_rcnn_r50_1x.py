# mmdet's Mask R-CNN with ResNet-50 and FPN, with denoising.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '_base_/models/resnet50_weights.py',
    '_base_/models/roi_denoising.py',
    '_base_/datasets/coco_mask.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(init_cfg=_base_.resnet50_weights),
    roi_head=_base_.roi_denoising)
