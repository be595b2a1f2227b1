# A small Mask R-CNN with denoising learns generated images from scratch; model.roi_head.denoising=None: without.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/models/rcnn_r18_small.py',
    '../_base_/shapes_comparison.py',
]

width = _base_.width
mask_size = 14
model = _base_.rcnn_small
model.roi_head.update(
    mask_roi_extractor=dict(_base_.roi_extractor, roi_layer=dict(output_size=mask_size // 2, sampling_ratio=1)),
    mask_head=dict(num_convs=1, in_channels=width, conv_out_channels=width, num_classes=6))
model.train_cfg.rcnn.update(mask_size=mask_size)
val_evaluator = test_evaluator = dict(metric=['bbox', 'segm'])
