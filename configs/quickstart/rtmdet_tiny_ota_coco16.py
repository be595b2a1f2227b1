# RTMDet-tiny with OTA overfits 16 small images of COCO.
_base_ = ['../rtmdet_tiny_ota.py', '../_base_/schedules/coco16_dense.py']

# Photos of any shape, where mmdet pads all to one.
model = dict(data_preprocessor=dict(pad_size_divisor=32), backbone=dict(init_cfg=None))

# The data, schedule and hooks of the sixteen images, in place of mmdet's.
globals().update(_base_.coco16_dense)
