# CrossFormer-S (arXiv 2108.00154) under Mask R-CNN. Long distance groups span the map, as in the published detectors.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '_base_/models/crossformer.py',
    '_base_/datasets/coco_mask.py',
    '_base_/schedules/schedule_crossformer_1x.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(_delete_=True, attention='short-long-map', **_base_.crossformer_s),
    neck=dict(in_channels=[96, 192, 384, 768]))
