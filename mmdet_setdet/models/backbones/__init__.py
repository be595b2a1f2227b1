from .crossformer import CrossFormer
from .resnet import ResNet

__all__ = ['CrossFormer', 'ResNet']
