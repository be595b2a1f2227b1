# AdamW at 1e-4, 36 epochs at batch 16 (8 x 2). CrossFormer's authors publish results of such a schedule but not its
# settings; these are the ones of Swin, against which their tables compare: strong decay, none of it on norms.
_base_ = 'schedule_crossformer_1x.py'

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={
        'norm': dict(decay_mult=0.),
        'absolute_pos_embed': dict(decay_mult=0.),
        'relative_position_bias_table': dict(decay_mult=0.),
    }))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', begin=0, end=max_epochs, by_epoch=True, milestones=[27, 33], gamma=0.1),
]
