# mmdet's YOLOX-s with OTA (arXiv 2103.14259) in the place of SimOTA: one line of the model.
_base_ = 'mmdet::yolox/yolox_s_8xb8-300e_coco.py'

model = dict(train_cfg=dict(assigner=dict(_delete_=True, type='OTAAssigner', score_form='square_roots')))

runner_type = 'CheckingRunner'
custom_imports = dict(imports=['mmdet_setdet'], allow_failed_imports=False)
data_root = '{{$SETDET_COCO:data/coco/}}'
train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root)))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + '/annotations/instances_val2017.json')
test_evaluator = val_evaluator
