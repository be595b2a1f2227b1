_base_ = 'dn_deformable_detr_r50_50e.py'

# The authors publish no milestone for 24 epochs; this is the one of their DINO.
train_cfg = dict(max_epochs=24)
param_scheduler = [dict(type='MultiStepLR', begin=0, end=24, by_epoch=True, milestones=[20], gamma=0.1)]
