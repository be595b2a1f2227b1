# CrossFormer++-H (arXiv 2303.06908), ImageNet-1k.
_base_ = 'crossformer_t_imagenet.py'

model = dict(in_channels=1024, backbone=dict(arch='plus-huge', drop_path_rate=0.5))
