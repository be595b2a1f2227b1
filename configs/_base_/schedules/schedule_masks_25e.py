# The authors' schedule of the mask head: 25 epochs, the learning rate divided by 10 after 15.
_base_ = 'schedule_50e.py'

train_cfg = dict(max_epochs=25)
param_scheduler = [dict(type='MultiStepLR', begin=0, end=25, by_epoch=True, milestones=[15], gamma=0.1)]
