# mmdet's Mask2Former for instances with ResNet-50, with denoising.
_base_ = [
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    '_base_/models/resnet50_weights.py',
    '_base_/models/denoising.py',
    '_base_/datasets/coco_root.py',
    '_base_/plugin_runtime.py',
]

model = dict(
    backbone=dict(init_cfg=_base_.resnet50_weights),
    panoptic_head=dict(type='DenoisingMask2FormerHead', denoising=_base_.published_denoising))

data_root = _base_.coco_root
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=_base_.coco_val_file)
