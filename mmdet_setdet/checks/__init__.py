"""Checks of user input; every mistake becomes an :class:`~mmdet_setdet.errors.InputError` that names the culprit."""

from .annotations import CheckedCOCO, check_annotations
from .checkpoints import check_fit
from .classes import check_class_folders, check_classes, image_folders
from .data_sets import base_datasets, check_dataset, checked_data_sets, checked_metrics
from .images import CheckedLoad, check_whole
from .object_counts import check_object_counts
from .options import merge_options

__all__ = [
    'CheckedCOCO',
    'CheckedLoad',
    'base_datasets',
    'check_annotations',
    'check_class_folders',
    'check_classes',
    'check_dataset',
    'check_fit',
    'check_object_counts',
    'check_whole',
    'checked_data_sets',
    'checked_metrics',
    'image_folders',
    'merge_options',
]
