_base_ = 'upernet_crossformer_s_ade20k.py'

model = dict(backbone=_base_.crossformer_b)
