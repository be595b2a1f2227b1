"""Data sets and transforms of this package; mmdet's own (COCO and the rest) are used as they are."""
from .pillow_resize import PillowResize
from .shape_scenes import ShapeScenes
from .shapes import ShapesDataset

__all__ = ['PillowResize', 'ShapeScenes', 'ShapesDataset']
