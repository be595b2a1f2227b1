"""Transforms of data pipelines; mmdet's and mmcv's own are used as they are."""

from .load_panoptic_annotations import LoadPanopticAnnotations
from .pillow_resize import PillowResize

__all__ = ['LoadPanopticAnnotations', 'PillowResize']
