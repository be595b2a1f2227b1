# YOLOX-s with OTA overfits 16 small images of COCO.
_base_ = ['../yolox_s_ota.py', '../_base_/schedules/coco16_dense.py']

model = dict(data_preprocessor=dict(batch_augments=None))

# The data, schedule and hooks of the sixteen images, in place of mmdet's.
globals().update(_base_.coco16_dense)
