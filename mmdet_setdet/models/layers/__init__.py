from .anchor_layers import AnchorDecoder, AnchorEncoder
from .attention import ConditionalAttention, LevelAttention, MultiheadAttention, attend
from .conditional_layers import ConditionalDecoder
from .dab_layers import DABDecoder, DABEncoder
from .deformable_attention import DeformableAttention, SamplingPoints
from .deformable_layers import (
    DeformableDABDecoder,
    DeformableDecoder,
    DeformableEncoder,
    DINODecoder,
)
from .detr_layers import DETRDecoder, DETREncoder
from .feature_levels import FeatureLevels
from .frozen_bn import FrozenBatchNorm2d
from .recording import recording
from .row_column_attention import RowColumnAttention

__all__ = [
    'AnchorDecoder',
    'AnchorEncoder',
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
    'RowColumnAttention',
    'SamplingPoints',
    'attend',
    'recording',
]
