"""Metrics that mmdet has not, or not without further packages."""

from .coco_panoptic_metric import CocoPanopticMetric
from .panoptic_quality import PanopticQuality, quality_counts

__all__ = ['CocoPanopticMetric', 'PanopticQuality', 'quality_counts']
