# CrossFormer++-S (arXiv 2303.06908) under UPerNet, with the groups of CrossFormer as in its authors' config.
_base_ = 'upernet_crossformer_s_ade20k.py'

model = dict(
    backbone=dict(**_base_.crossformerpp_s, **_base_.plain_groups),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
