"""Transforms of data pipelines; mmdet's and mmcv's own are used as they are."""

from .pillow_resize import PillowResize

__all__ = ['PillowResize']
