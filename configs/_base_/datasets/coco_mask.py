# mmdet's COCO boxes and masks: images of 800 by at most 1333 pixels, flipped.
_base_ = ['mmdet::_base_/datasets/coco_instance.py', 'coco_root.py']

data_root = _base_.coco_root
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=_base_.coco_val_file)
