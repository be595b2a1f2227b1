# mmdet's YOLOX-s with OTA (arXiv 2103.14259) in the place of SimOTA: one line of the model.
_base_ = [
    'mmdet::yolox/yolox_s_8xb8-300e_coco.py',
    '_base_/datasets/coco_root.py',
    '_base_/plugin_runtime.py',
]

model = dict(
    train_cfg=dict(assigner=dict(_delete_=True, type='OTAAssigner', score_form='square_roots')))

data_root = _base_.coco_root
# The images that a mosaic is made of lie one level deeper.
train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root)))
val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=_base_.coco_val_file)
