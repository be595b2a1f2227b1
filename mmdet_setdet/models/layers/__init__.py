from .attention import ConditionalAttention, MultiheadAttention, attend
from .boxes import inverse_sigmoid
from .dab_layers import DABDecoder, DABEncoder
from .detr_layers import DETRDecoder, DETREncoder
from .frozen_bn import FoldedConv2d, FrozenBatchNorm2d

__all__ = [
    'ConditionalAttention', 'DABDecoder', 'DABEncoder', 'DETRDecoder', 'DETREncoder', 'FoldedConv2d',
    'FrozenBatchNorm2d', 'MultiheadAttention', 'attend', 'inverse_sigmoid'
]
