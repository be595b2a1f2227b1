# As schedule_50e.py in 36 epochs: the learning rate is divided by 10 after 30.
_base_ = 'schedule_50e.py'

train_cfg = dict(max_epochs=36)
param_scheduler = [dict(type='MultiStepLR', begin=0, end=36, by_epoch=True, milestones=[30], gamma=0.1)]
