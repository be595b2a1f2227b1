from .attention import ConditionalAttention, LevelAttention, MultiheadAttention, attend
from .conditional_layers import ConditionalDecoder
from .dab_layers import DABDecoder, DABEncoder
from .deformable_attention import DeformableAttention
from .deformable_layers import (
    DeformableDABDecoder,
    DeformableDecoder,
    DeformableEncoder,
    DINODecoder,
)
from .detr_layers import DETRDecoder, DETREncoder
from .feature_levels import FeatureLevels
from .frozen_bn import FrozenBatchNorm2d

__all__ = [
    'ConditionalAttention',
    'ConditionalDecoder',
    'DABDecoder',
    'DABEncoder',
    'DETRDecoder',
    'DETREncoder',
    'DINODecoder',
    'DeformableAttention',
    'DeformableDABDecoder',
    'DeformableDecoder',
    'DeformableEncoder',
    'FeatureLevels',
    'FrozenBatchNorm2d',
    'LevelAttention',
    'MultiheadAttention',
    'attend',
]
