from .deformable_detr_head import DeformableDETRHead
from .detr_head import DETRHead
from .dn_detr_head import DNDETRHead
from .ota_head import OTAHead

__all__ = ['DETRHead', 'DNDETRHead', 'DeformableDETRHead', 'OTAHead']
