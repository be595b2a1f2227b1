"""Data sets of this package; mmdet's own (COCO and the rest) are used as they are."""
from .shape_scenes import ShapeScenes
from .shapes import ShapesDataset

__all__ = ['ShapeScenes', 'ShapesDataset']
