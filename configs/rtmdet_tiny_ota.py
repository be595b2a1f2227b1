# mmdet's RTMDet-tiny with OTA (arXiv 2103.14259) in the place of its dynamic soft labels: one line of the model.
_base_ = [
    'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    '_base_/datasets/coco_root.py',
    '_base_/plugin_runtime.py',
]

model = dict(
    train_cfg=dict(assigner=dict(_delete_=True, type='OTAAssigner', score_form='logits')))

data_root = _base_.coco_root
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=_base_.coco_val_file)
