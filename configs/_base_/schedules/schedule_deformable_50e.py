# Deformable DETR's 50 epochs at batch 32 (16 x 2): sampling offsets and reference points learn at a tenth.
_base_ = 'schedule_50e.py'

optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(custom_keys={
        'sampling_offsets': dict(lr_mult=0.1),
        'reference_points': dict(lr_mult=0.1),
    }))
auto_scale_lr = dict(base_batch_size=32)
