from .batch_augments import EraseRectangles, MixImages
from .class_preprocessor import ClassPreprocessor
from .image_classifier import ImageClassifier

__all__ = ['ClassPreprocessor', 'EraseRectangles', 'ImageClassifier', 'MixImages']
