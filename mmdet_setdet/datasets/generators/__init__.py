"""Generators of images with annotations."""

from .shape_scenes import CLASSES, PALETTE, PlacedShape, ShapeScenes

__all__ = ['CLASSES', 'PALETTE', 'PlacedShape', 'ShapeScenes']
