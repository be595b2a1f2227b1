# CrossFormer-B (arXiv 2108.00154), ImageNet-1k.
_base_ = 'crossformer_t_imagenet.py'

model = dict(in_channels=768, backbone=dict(arch='base', drop_path_rate=0.3))
