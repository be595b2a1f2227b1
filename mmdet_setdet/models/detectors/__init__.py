from .conditional_detr import ConditionalDETR
from .detr import DETR
from .dn_detr import DNDETR

__all__ = ['ConditionalDETR', 'DETR', 'DNDETR']
