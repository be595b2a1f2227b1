"""Checks of whole data sets: their annotations and folders while they are built, their files while they are loaded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmdet.datasets import CocoDataset, CocoPanopticDataset
from mmdet.datasets.transforms import LoadPanopticAnnotations
from mmdet.evaluation.metrics import coco_metric
from mmengine.dataset import BaseDataset

from ..errors import InputError
from .annotations import CheckedCOCO, QuietCOCO
from .images import CheckedLoad, CheckedTransform
from .panoptic import CheckedCOCOPanoptic, check_panoptic_folder

NOTHING_LEFT = 'check filter_cfg (filter_empty_gt, min_size), indices and ann_file'


@contextmanager
def checked_data_sets() -> Iterator[None]:
    """Check data sets that are built within this context.

    A data set reads its annotations and packs its list of images within ``__init__``, below wrappers too, so there is
    no instance that could be given another reader. Two attributes of the classes are replaced for a while instead.

    Raises:
        InputError: The annotations do not pass :class:`CheckedCOCO`, no image is left after filtering, or a folder
            is missing.
    """
    with (
        replaced(CocoDataset, 'COCOAPI', CheckedCOCO),
        replaced(CocoPanopticDataset, 'COCOAPI', CheckedCOCOPanoptic),
        replaced(BaseDataset, '_serialize_data', _serialize_if_any),
    ):
        try:
            yield
        except FileNotFoundError as error:
            raise InputError(
                f'{error.filename or error}: no such folder of images; set data_root (for the configs of ADE20K the '
                'environment variable SETDET_ADE) or data_prefix'
            ) from error


@contextmanager
def checked_metrics() -> Iterator[None]:
    """Check the annotation files that CocoMetric reads while it is built within this context.

    It reads the file itself, a second time, and would lack what the reader of the data set has completed.

    Raises:
        InputError: The annotations do not pass :class:`CheckedCOCO`.
    """
    with replaced(coco_metric, 'COCO', QuietCOCO):
        yield


@contextmanager
def replaced(owner, name: str, value) -> Iterator[None]:
    """Set an attribute of a class or module within this context."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


_serialize = BaseDataset._serialize_data


def _serialize_if_any(dataset: BaseDataset):
    """Serialize the list of images as mmengine does, which fails in numpy if the list is empty."""
    if not dataset.data_list:
        raise InputError(f'no image is left of the data set: {NOTHING_LEFT}')
    # Counted here because the list is gone afterwards, and unpacking it image by image takes seconds.
    dataset.object_counts = count_objects(dataset.data_list)
    return _serialize(dataset)


def count_objects(data_list: list[dict]) -> np.ndarray:
    """Return the number of objects, crowds left out, for each image of a list."""
    counts = []
    for info in data_list:
        crowds = [instance.get('ignore_flag', 0) for instance in info.get('instances', ())]
        counts.append(crowds.count(0))
    return np.array(counts, int)


def base_datasets(dataset) -> Iterator:
    """Iterate over the data sets below wrappers such as ConcatDataset, RepeatDataset and MultiImageMixDataset."""
    inner = list(getattr(dataset, 'datasets', None) or ())
    for name in ('dataset', '_dataset'):
        if not inner and hasattr(dataset, name):
            inner = [getattr(dataset, name)]
    if not inner:
        yield dataset
    for child in inner:
        yield from base_datasets(child)


def check_dataset(dataset) -> None:
    """Check that a data set is not empty, and have its loaders of images and label maps report bad files from now on.

    Raises:
        InputError: The data set is empty, or the folder of its panoptic PNGs is missing.
    """
    if not len(dataset):
        raise InputError(f'the data set is empty: {NOTHING_LEFT}')
    for base in base_datasets(dataset):
        check_panoptic_folder(base)
        pipeline = getattr(base, 'pipeline', None)
        transforms = getattr(pipeline, 'transforms', [])
        transforms[:] = [_checked(transform) for transform in transforms]


def _checked(transform: Callable) -> Callable:
    if isinstance(transform, (CheckedLoad, CheckedTransform)):
        return transform
    return CheckedLoad(transform) if _loads_a_file(transform) else CheckedTransform(transform)


def _loads_a_file(transform) -> bool:
    # Subclasses may read something else than a file. Of the loaders of annotations, mmseg's and the panoptic ones do.
    if type(transform) is LoadImageFromFile or isinstance(transform, LoadPanopticAnnotations):
        return True
    is_of_mmseg = type(transform).__module__.startswith('mmseg.')
    return is_of_mmseg and isinstance(transform, LoadAnnotations)
