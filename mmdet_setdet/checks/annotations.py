"""Checks of COCO annotation files: an error or a warning where mmdet drops or misreads something silently."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from ..errors import InputError, one_line, short
from .annotation_fields import check_fields, is_number

Warn = Callable[[str], None]


def warn(message: str) -> None:
    """Log a warning."""
    print_log(message, logger='current', level=logging.WARNING)


def check_annotations(coco: dict, file: str, warn: Warn = warn) -> None:
    """Check a parsed COCO annotation file.

    Boxes that mmdet drops, and boxes of images that are not listed, are counted in a warning.

    Args:
        coco (dict): Content of the file. Boxes are ``x, y, width, height`` in pixels.
        file (str): Path of the file, for the messages.
        warn (Callable): Function that gets each warning.

    Raises:
        InputError: A list or field is missing or of another kind (:data:`~.annotation_fields.FIELDS`), there is no
            image, a box is not finite, an id occurs twice, or the category of an annotation is not listed.
    """
    check_fields(coco, file)
    annotations = coco['annotations']
    if not annotations:
        warn(
            f'{file}: its list "annotations" is empty: its images have nothing to learn or to find'
        )
        return
    category_ids = {category['id'] for category in coco['categories']}
    _check_category_ids(annotations, category_ids, file)
    _check_boxes(annotations, file)
    _warn_of_dropped_boxes(annotations, coco['images'], file, warn)


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
        if not all(map(is_number, annotation['bbox'])):
            raise InputError(
                f'{file}: annotation {annotation["id"]} (image {annotation["image_id"]}) '
                f'has a bbox that is not finite: {short(annotation["bbox"])}'
            )


def _column(annotations: list[dict], field: str) -> np.ndarray:
    """Return a field of all annotations as float64."""
    return np.array([annotation[field] for annotation in annotations], dtype=np.float64)


def _warn_of_dropped_boxes(
    annotations: list[dict], images: list[dict], file: str, warn: Warn
) -> None:
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
    is_ignored = np.array([bool(annotation.get('ignore')) for annotation in annotations])

    dropped = {
        'are marked by "ignore"': is_ignored,
        'belong to an image that the file does not list': ~is_listed,
        'have no part inside their image': is_listed & ~is_inside,
        'are less than a pixel wide or high, or have no area': is_listed
        & is_inside
        & ~is_large_enough,
    }
    for reason, is_dropped in dropped.items():
        if is_dropped.any():
            example = annotations[int(is_dropped.argmax())]
            warn(
                f'{file}: {int(is_dropped.sum())} of {len(annotations)} boxes {reason} and are left out, for example '
                f'annotation {example["id"]} of image {example["image_id"]}: {example["bbox"]}'
            )


def complete_annotations(annotations: list[dict], file: str, warn: Warn = warn) -> None:
    """Give annotations in place what training does without but pycocotools' evaluation needs.

    Without ``iscrowd`` it stops; ids become floats in it, and a match with the annotation of id 0 counts as none.
    """
    lacking = [annotation for annotation in annotations if annotation.get('iscrowd') is None]
    for annotation in lacking:
        annotation['iscrowd'] = 0
    if lacking:
        warn(
            f'{file}: {len(lacking)} of {len(annotations)} annotations have no "iscrowd", which counts as 0: '
            'single objects, not crowds'
        )
    unusable = [
        annotation['id']
        for annotation in annotations
        if isinstance(annotation['id'], str) or annotation['id'] <= 0
    ]
    if unusable:
        warn(
            f'{file}: the annotations are numbered anew, because the evaluation takes whole numbers above 0 as ids '
            f'only, and the file has {unusable[0]!r}'
        )
        for number, annotation in enumerate(annotations, 1):
            annotation['id'] = number


class CheckedReading:
    """For readers of COCO's annotation files: a check between parsing and indexing.

    Args:
        annotation_file (str): Path of the file.

    Raises:
        InputError: The file is missing, is not JSON, or does not pass :meth:`check`.
    """

    warn = staticmethod(warn)

    def check(self) -> None:
        """Check ``dataset``, the content of the file."""
        raise NotImplementedError

    def __init__(self, annotation_file: str | None = None) -> None:
        self._file = annotation_file
        try:
            super().__init__(annotation_file)
        except FileNotFoundError as error:
            raise InputError(
                f'{annotation_file}: no such annotation file; set data_root (for the configs of COCO the '
                'environment variable SETDET_COCO) or ann_file'
            ) from error
        except OSError as error:
            raise InputError(
                f'{annotation_file}: cannot be read ({error.strerror or error})'
            ) from error
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            raise InputError(f'{annotation_file}: not JSON ({one_line(error)})') from error
        except AssertionError as error:
            raise InputError(
                f'{annotation_file}: not a COCO annotation file: it holds no object with the lists "images", '
                '"annotations" and "categories"'
            ) from error

    def createIndex(self) -> None:  # noqa: N802 (pycocotools' name)
        self.check()
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
        twice = [name for name in classes if names.count(name) > 1]
        if twice:
            raise InputError(
                f'{self._file}: {names.count(twice[0])} entries of "categories" are named {short(twice[0])}; give '
                'each its own name'
            )
        absent = [name for name in classes if name not in names]
        if absent:
            raise InputError(
                f'{self._file}: {len(absent)} of the {len(classes)} classes of the config are not in the file: '
                f'{first_names(absent)}. It has: {first_names(names)}. Set metainfo=dict(classes=(...)) of the data '
                'set'
            )
        in_order_of_file = [name for name in names if name in classes]
        if in_order_of_file != classes:
            warn(
                f'{self._file}: the classes of the config are in another order than in the file; labels follow the '
                'file, so that names in pictures and tables will be wrong'
            )


class CheckedCOCO(CheckedReading, COCO):
    """mmdet's COCO reader with :func:`check_annotations` and :func:`complete_annotations`."""

    def check(self) -> None:
        check_annotations(self.dataset, self._file, self.warn)
        complete_annotations(self.dataset['annotations'], self._file, self.warn)


class QuietCOCO(CheckedCOCO):
    """The same for a second reading, by the evaluation: it completes the annotations without a word."""

    warn = staticmethod(lambda message: None)


def first_names(names: Sequence[str], most: int = 5) -> str:
    """Join the first few of many names for a message."""
    shown = ', '.join(map(str, names[:most]))
    return f'{shown}, ...' if len(names) > most else shown
