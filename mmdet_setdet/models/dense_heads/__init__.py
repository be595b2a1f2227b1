from .dab_detr_head import DABDETRHead
from .deformable_detr_head import DeformableDETRHead
from .denoising_mask2former_head import DenoisingMask2FormerHead
from .detr_head import DETRHead
from .ota_head import OTAHead

__all__ = [
    'DABDETRHead',
    'DETRHead',
    'DeformableDETRHead',
    'DenoisingMask2FormerHead',
    'OTAHead',
]
