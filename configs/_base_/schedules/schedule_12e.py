# As schedule_50e.py in 12 epochs: the learning rate is divided by 10 after 11.
_base_ = 'schedule_50e.py'

train_cfg = dict(max_epochs=12)
param_scheduler = [dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[11], gamma=0.1)]
