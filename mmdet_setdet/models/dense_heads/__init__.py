from .dab_detr_head import DABDETRHead
from .deformable_detr_head import DeformableDETRHead
from .detr_head import DETRHead
from .ota_head import OTAHead

__all__ = ['DABDETRHead', 'DETRHead', 'DeformableDETRHead', 'OTAHead']
