"""Metrics that mmdet has not, or not without further packages, or slower."""

from .coco_metric import CocoMetric
from .coco_panoptic_metric import CocoPanopticMetric
from .panoptic_quality import PanopticQuality, quality_counts

__all__ = ['CocoMetric', 'CocoPanopticMetric', 'PanopticQuality', 'quality_counts']
