from .anchor_detr import AnchorDETR
from .conditional_detr import ConditionalDETR
from .dab_detr import DABDETR
from .deformable_detr import DeformableDETR
from .detr import DETR
from .dino import DINO

__all__ = ['DABDETR', 'DETR', 'DINO', 'AnchorDETR', 'ConditionalDETR', 'DeformableDETR']
