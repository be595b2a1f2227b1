from .detr import DETR
from .dn_detr import DNDETR

__all__ = ['DETR', 'DNDETR']
