# CrossFormer-S (arXiv 2108.00154) under RetinaNet. Long distance groups span the map, as in the published detectors.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    '_base_/models/crossformer.py',
    '_base_/datasets/coco_box.py',
    '_base_/schedules/schedule_crossformer_1x.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        attention='short-long-map',
        out_indices=(1, 2, 3),
        **_base_.crossformer_s),
    neck=dict(in_channels=[192, 384, 768], start_level=0))
