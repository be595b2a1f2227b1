"""Data sets and transforms of this package; mmdet's own (COCO and the rest) are used as they are."""
from .image_folder import ImageFolder
from .image_transforms import PackClassInputs, RandomResizedCrop
from .pillow_resize import PillowResize
from .rand_augment import PillowRandAugment
from .shape_folders import write_shape_folders
from .shape_scenes import ShapeScenes
from .shapes import ShapesDataset

__all__ = [
    'ImageFolder', 'PackClassInputs', 'PillowRandAugment', 'PillowResize', 'RandomResizedCrop', 'ShapeScenes',
    'ShapesDataset', 'write_shape_folders'
]
