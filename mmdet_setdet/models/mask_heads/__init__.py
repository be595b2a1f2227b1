from .detr_mask_head import DETRMaskHead

__all__ = ['DETRMaskHead']
