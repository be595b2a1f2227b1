"""Data sets, transforms and image generators for detection; mmdet's own (COCO and the rest) are used as they are."""

from .generators import ShapeScenes
from .shapes_dataset import ShapesDataset
from .transforms import LoadPanopticAnnotations, PillowResize

__all__ = ['LoadPanopticAnnotations', 'PillowResize', 'ShapeScenes', 'ShapesDataset']
