from .conditional_detr import ConditionalDETR
from .deformable_detr import DeformableDETR
from .detr import DETR
from .dn_detr import DNDETR

__all__ = ['ConditionalDETR', 'DETR', 'DNDETR', 'DeformableDETR']
