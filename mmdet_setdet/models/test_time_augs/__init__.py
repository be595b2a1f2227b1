from .scale_range_tta import ScaleRangeTTA, soft_vote

__all__ = ['ScaleRangeTTA', 'soft_vote']
