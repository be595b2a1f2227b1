"""Checks of COCO annotation files: an error or a warning where mmdet drops or misreads something silently."""

import json
import logging
from collections.abc import Sequence

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from ..errors import InputError

IMAGE_FIELDS = ('id', 'file_name', 'width', 'height')
CATEGORY_FIELDS = ('id', 'name')
ANNOTATION_FIELDS = ('id', 'image_id', 'category_id', 'bbox', 'area')


def check_annotations(coco: dict, file: str) -> None:
    """Check a parsed COCO annotation file.

    Boxes that mmdet drops, and boxes of images that are not listed, are counted in a warning.

    Args:
        coco (dict): Content of the file. Boxes are ``x, y, width, height`` in pixels.
        file (str): Path of the file, for the messages.

    Raises:
        InputError: A list or field is missing, there is no image, a box is not four finite numbers, or the category
            of an annotation is not listed.
    """
    check_lists(coco, file)
    images = with_fields(coco['images'], 'image', IMAGE_FIELDS, file)
    categories = with_fields(coco['categories'], 'category', CATEGORY_FIELDS, file)
    annotations = with_fields(coco['annotations'], 'annotation', ANNOTATION_FIELDS, file)
    if annotations:
        category_ids = {category['id'] for category in categories}
        _check_category_ids(annotations, category_ids, file)
        _check_boxes(annotations, file)
        _warn_of_dropped_boxes(annotations, images, file)


def check_lists(coco: dict, file: str) -> None:
    """Check that an annotation file has COCO's lists, and images."""
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(coco.get(key), list):
            keys = ', '.join(map(str, list(coco)[:8]))
            raise InputError(
                f'{file}: not a COCO annotation file: it has no list "{key}" (it has: {keys or "nothing"})'
            )
    if not coco['images']:
        raise InputError(f'{file}: its list "images" is empty')


def with_fields(entries: list[dict], kind: str, fields: Sequence[str], file: str) -> list[dict]:
    """Return the entries of a list after checking that each has all fields."""
    for i, entry in enumerate(entries):
        for field in fields:
            if field not in entry:
                name = entry.get('id', f'number {i}')
                raise InputError(f'{file}: {kind} {name} has no "{field}"')
    return entries


def _check_category_ids(annotations: list[dict], category_ids: set, file: str) -> None:
    for annotation in annotations:
        category = annotation['category_id']
        if category not in category_ids:
            raise InputError(
                f'{file}: annotation {annotation["id"]} has category_id {category}, '
                f'which is not among the {len(category_ids)} ids in "categories"'
            )


def _check_boxes(annotations: list[dict], file: str) -> None:
    for annotation in annotations:
        if not _is_box(annotation['bbox']):
            raise InputError(
                f'{file}: annotation {annotation["id"]} has the bbox {annotation["bbox"]}; '
                'it must be four numbers: x, y, width, height'
            )
    is_finite = np.isfinite(_column(annotations, 'bbox')).all(1)
    if not is_finite.all():
        culprit = annotations[int(is_finite.argmin())]
        raise InputError(
            f'{file}: annotation {culprit["id"]} (image {culprit["image_id"]}) '
            f'has a bbox that is not finite: {culprit["bbox"]}'
        )


def _is_box(box) -> bool:
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        return False
    return all(isinstance(value, (int, float)) for value in box)


def _column(annotations: list[dict], field: str) -> np.ndarray:
    """Return a field of all annotations as float64."""
    return np.array([annotation[field] for annotation in annotations], dtype=np.float64)


def _warn_of_dropped_boxes(annotations: list[dict], images: list[dict], file: str) -> None:
    """Warn of the boxes that mmdet leaves out without saying so, by the reason for it."""
    image_sizes = {image['id']: (image['width'], image['height']) for image in images}
    image_ids = [annotation['image_id'] for annotation in annotations]
    is_listed = np.array([image_id in image_sizes for image_id in image_ids])
    no_size = (np.inf, np.inf)
    border = np.array([image_sizes.get(image_id, no_size) for image_id in image_ids])

    boxes = _column(annotations, 'bbox')
    start = boxes[:, :2]
    size = boxes[:, 2:]
    end = np.minimum(start + size, border)
    is_inside = (end > np.maximum(start, 0)).all(1)
    is_large_enough = (size >= 1).all(1) & (_column(annotations, 'area') > 0)

    dropped = {
        'belong to an image that the file does not list': ~is_listed,
        'have no part inside their image': is_listed & ~is_inside,
        'are less than a pixel wide or high, or have no area': is_listed
        & is_inside
        & ~is_large_enough,
    }
    for reason, is_dropped in dropped.items():
        if is_dropped.any():
            example = annotations[int(is_dropped.argmax())]
            _warn(
                f'{file}: {int(is_dropped.sum())} of {len(annotations)} boxes {reason} and are left out, for example '
                f'annotation {example["id"]} of image {example["image_id"]}: {example["bbox"]}'
            )


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)


class CheckedReading:
    """For readers of COCO's annotation files: a check between parsing and indexing.

    Args:
        annotation_file (str): Path of the file.

    Raises:
        InputError: The file is missing, is not JSON, or does not pass :meth:`check`.
    """

    def check(self, coco: dict, file: str) -> None:
        """Check the content of a file."""
        raise NotImplementedError

    def __init__(self, annotation_file: str | None = None) -> None:
        self._file = annotation_file
        try:
            super().__init__(annotation_file)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f'{annotation_file}: not JSON ({error})') from error
        except FileNotFoundError as error:
            raise InputError(
                f'{annotation_file}: no such annotation file; set data_root (for the configs of COCO the '
                'environment variable SETDET_COCO) or ann_file'
            ) from error
        except AssertionError as error:
            raise InputError(f'{annotation_file}: not a COCO annotation file ({error})') from error

    def createIndex(self) -> None:  # noqa: N802 (pycocotools' name)
        self.check(self.dataset, self._file)
        super().createIndex()

    def get_cat_ids(self, cat_names=(), sup_names=(), cat_ids=()):
        """Return the ids of the named categories.

        In mmdet, a class name that the file does not have shifts all labels after it.
        """
        if cat_names:
            self._check_class_names([cat_names] if isinstance(cat_names, str) else list(cat_names))
        return super().get_cat_ids(list(cat_names), list(sup_names), list(cat_ids))

    def _check_class_names(self, classes: list[str]) -> None:
        names = [category['name'] for category in self.dataset['categories']]
        absent = [name for name in classes if name not in names]
        if absent:
            raise InputError(
                f'{self._file}: {len(absent)} of the {len(classes)} classes of the config are not in the file: '
                f'{first_names(absent)}. It has: {first_names(names)}. Set metainfo=dict(classes=(...)) of the data '
                'set'
            )
        in_order_of_file = [name for name in names if name in classes]
        if in_order_of_file != classes:
            _warn(
                f'{self._file}: the classes of the config are in another order than in the file; labels follow the '
                'file, so that names in pictures and tables will be wrong'
            )


class CheckedCOCO(CheckedReading, COCO):
    """mmdet's COCO reader with :func:`check_annotations`."""

    check = staticmethod(check_annotations)


def first_names(names: Sequence[str], most: int = 5) -> str:
    """Join the first few of many names for a message."""
    shown = ', '.join(map(str, names[:most]))
    return f'{shown}, ...' if len(names) > most else shown
