# YOLOX-s with OTA overfits 16 small images of COCO.
_base_ = ['../yolox_s_ota.py', '../_base_/coco16_dense.py']

model = dict(data_preprocessor=dict(batch_augments=None))
train_dataloader = {{_base_.coco16_train_dataloader}}
val_dataloader = {{_base_.coco16_val_dataloader}}
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator
train_cfg = {{_base_.coco16_train_cfg}}
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = {{_base_.coco16_scheduler}}
custom_hooks = []
default_hooks = {{_base_.coco16_hooks}}
log_processor = dict(by_epoch=False)
