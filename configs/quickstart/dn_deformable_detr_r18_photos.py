# The small DN-Deformable-DETR on a few hundred photographs, from scratch or from weights (docs/small_data.md).
_base_ = ['dn_deformable_detr_r18_shapes.py', '../_base_/small_data.py']

globals().update(_base_.small_data)
# So short a training does not teach which of two queries has found an object first.
model = dict(test_cfg=dict(nms=dict(type='nms', iou_threshold=0.7)))
