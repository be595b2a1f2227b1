# A small Faster R-CNN with denoising learns generated images from scratch; model.roi_head.denoising=None: without.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/models/rcnn_r18_small.py',
    '../_base_/shapes_comparison.py',
]

model = _base_.rcnn_small
