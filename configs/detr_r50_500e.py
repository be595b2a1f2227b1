_base_ = 'detr_r50_150e.py'

# Batch 64: 16 processes x 4 images.
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_epochs=500)
param_scheduler = [dict(type='MultiStepLR', begin=0, end=500, by_epoch=True, milestones=[400], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=64)
