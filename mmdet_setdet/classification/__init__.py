"""Image classification on mmengine alone: model, data, augmentations, metric and pictures."""

from .accuracy import Accuracy
from .batch_augments import EraseRectangles, MixImages
from .class_preprocessor import ClassPreprocessor
from .image_classifier import ImageClassifier
from .image_folder import ImageFolder
from .image_transforms import PackClassInputs, RandomResizedCrop
from .label_visualizer import LabelVisualizer
from .rand_augment import PillowRandAugment
from .shape_folders import write_shape_folders

__all__ = [
    'Accuracy',
    'ClassPreprocessor',
    'EraseRectangles',
    'ImageClassifier',
    'ImageFolder',
    'LabelVisualizer',
    'MixImages',
    'PackClassInputs',
    'PillowRandAugment',
    'RandomResizedCrop',
    'write_shape_folders',
]
