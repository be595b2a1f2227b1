# AdamW at 1e-4, 12 epochs at batch 16 (8 x 2), as CrossFormer's authors train RetinaNet and Mask R-CNN: no gradient is
# clipped, and every parameter decays.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=1e-4, fused=True))
