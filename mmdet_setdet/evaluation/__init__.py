"""Metrics of this package; COCO's are mmdet's."""
from .accuracy import Accuracy

__all__ = ['Accuracy']
