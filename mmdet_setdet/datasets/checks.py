"""Checks of the data while it is read: what mmdet drops or misreads silently is said, or is an error.

Annotations are checked on the parsed file that mmdet's dataset holds anyway, in numpy; images when they are loaded.
"""
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest

import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log
from PIL import Image

from ..errors import InputError
from .image_folder import ImageFolder


def check_annotations(coco: dict, file: str) -> None:
    """Checks a parsed COCO annotation file.

    Args:
        coco (dict): Its content. Boxes are ``x, y, width, height`` in pixels.
        file (str): Its path, for the messages.

    Raises:
        InputError: A list or field is missing, there is no image, a box is not four finite numbers, or an annotation
            has a category that is not listed. Boxes that mmdet drops, and images not listed, are counted and warned of.
    """
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(coco.get(key), list):
            raise InputError(f'{file}: not a COCO annotation file: it has no list "{key}" (it has: '
                             f'{", ".join(map(str, list(coco)[:8])) or "nothing"})')
    if not coco['images']:
        raise InputError(f'{file}: its list "images" is empty')
    sizes = {image['id']: (image['width'], image['height'])
             for image in _with_fields(coco['images'], 'image', ('id', 'file_name', 'width', 'height'), file)}
    category_ids = {category['id'] for category in _with_fields(coco['categories'], 'category', ('id', 'name'), file)}
    annotations = _with_fields(
        coco['annotations'], 'annotation', ('id', 'image_id', 'category_id', 'bbox', 'area'), file)
    if not annotations:
        return
    for annotation in annotations:
        if annotation['category_id'] not in category_ids:
            raise InputError(f'{file}: annotation {annotation["id"]} has category_id {annotation["category_id"]}, '
                             f'which is not among the {len(category_ids)} ids in "categories"')
    try:
        boxes = np.array([annotation['bbox'] for annotation in annotations], dtype=np.float64).reshape(-1, 4)
        if len(boxes) != len(annotations):
            raise ValueError
    except (TypeError, ValueError):
        culprit = next(a for a in annotations if not _is_box(a['bbox']))
        raise InputError(f'{file}: annotation {culprit["id"]} has the bbox {culprit["bbox"]}; '
                         'it must be four numbers: x, y, width, height') from None
    if not np.isfinite(boxes).all():
        culprit = annotations[int(np.argmin(np.isfinite(boxes).all(1)))]
        raise InputError(f'{file}: annotation {culprit["id"]} (image {culprit["image_id"]}) has a bbox that is not '
                         f'finite: {culprit["bbox"]}')
    known = np.array([annotation['image_id'] in sizes for annotation in annotations])
    extent = np.array([sizes.get(annotation['image_id'], (np.inf, np.inf)) for annotation in annotations])
    corner, size = boxes[:, :2], boxes[:, 2:]
    inside = (np.minimum(corner + size, extent) > np.maximum(corner, 0)).all(1)
    area = np.array([annotation['area'] for annotation in annotations], dtype=np.float64) > 0
    _warn_dropped(annotations, ~known, 'belong to an image that the file does not list', file)
    _warn_dropped(annotations, known & ~inside, 'have no part inside their image', file)
    _warn_dropped(annotations, known & inside & ~((size >= 1).all(1) & area), 'are less than a pixel wide or high, or '
                  'have no area', file)


def _with_fields(entries: list[dict], what: str, fields: tuple[str, ...], file: str) -> list[dict]:
    for i, entry in enumerate(entries):
        for field in fields:
            if field not in entry:
                raise InputError(f'{file}: {what} {entry.get("id", f"number {i}")} has no "{field}"')
    return entries


def _is_box(box) -> bool:
    return isinstance(box, (list, tuple)) and len(box) == 4 and all(isinstance(v, (int, float)) for v in box)


def _warn_dropped(annotations: list[dict], dropped: np.ndarray, what: str, file: str) -> None:
    if dropped.any():
        example = annotations[int(np.argmax(dropped))]
        print_log(f'{file}: {int(dropped.sum())} of {len(annotations)} boxes {what} and are left out, for example '
                  f'annotation {example["id"]} of image {example["image_id"]}: {example["bbox"]}',
                  logger='current', level=logging.WARNING)


class CheckedCOCO(COCO):
    """mmdet's COCO reader, with :func:`check_annotations` between parsing and indexing."""

    def __init__(self, annotation_file=None) -> None:
        self._file = annotation_file
        try:
            super().__init__(annotation_file)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f'{annotation_file}: not JSON ({error})') from error
        except FileNotFoundError as error:
            raise InputError(f'{annotation_file}: no such annotation file; set data_root (for the configs of COCO the '
                             'environment variable SETDET_COCO) or ann_file') from error
        except AssertionError as error:
            raise InputError(f'{annotation_file}: not a COCO annotation file ({error})') from error

    def createIndex(self) -> None:  # noqa: N802 (pycocotools' name)
        check_annotations(self.dataset, self._file)
        super().createIndex()

    def get_cat_ids(self, cat_names=(), sup_names=(), cat_ids=()):
        """As in mmdet, where a class name that the file does not have would shift all labels after it."""
        if cat_names:
            names = [category['name'] for category in self.dataset['categories']]
            wanted = [cat_names] if isinstance(cat_names, str) else list(cat_names)
            absent = [name for name in wanted if name not in names]
            if absent:
                raise InputError(
                    f'{self._file}: {len(absent)} of the {len(wanted)} classes of the config are not in the file: '
                    f'{_some(absent)}. It has: {_some(names)}. Set metainfo=dict(classes=(...)) of the data set')
            if [name for name in names if name in wanted] != wanted:
                print_log(f'{self._file}: the classes of the config are in another order than in the file; labels '
                          'follow the file, so that names in pictures and tables will be wrong', 'current',
                          logging.WARNING)
        return super().get_cat_ids(list(cat_names), list(sup_names), list(cat_ids))


def _some(names) -> str:
    return ', '.join(map(str, names[:5])) + (', ...' if len(names) > 5 else '')


@contextmanager
def checked_annotations():
    """Within this context mmdet's COCO-style data sets read their annotations through :class:`CheckedCOCO`."""
    COCO_API = CocoDataset.COCOAPI
    CocoDataset.COCOAPI = CheckedCOCO
    try:
        yield
    except ValueError as error:
        if isinstance(error, InputError) or 'concatenate' not in str(error):
            raise
        # What numpy says when mmengine serialises an empty list of images.
        raise InputError('no image is left of the data set: check filter_cfg (filter_empty_gt, min_size), indices and '
                         'ann_file') from error
    except FileNotFoundError as error:
        raise InputError(f'{error.filename or error}: no such folder of images; set data_root (for the configs of '
                         'ADE20K the environment variable SETDET_ADE) or data_prefix') from error
    finally:
        CocoDataset.COCOAPI = COCO_API


class CheckedLoad:
    """A loader of a pipeline's images or label maps that names a file which is missing, not an image, or cut short.

    OpenCV returns a picture whose lower part is grey for a JPEG that ends early, and says nothing. A file that does
    not end as its format demands is therefore decoded once more by Pillow, which notices; others cost two bytes.

    Args:
        load (LoadImageFromFile | LoadAnnotations): The loader.
    """

    def __init__(self, load: LoadImageFromFile | LoadAnnotations) -> None:
        self.load = load
        self.key, self.what = ('img_path', 'image') if isinstance(load, LoadImageFromFile) else (
            'seg_map_path', 'label map')

    def __call__(self, results: dict) -> dict:
        path = results[self.key]
        try:
            loaded = self.load(results)
        except FileNotFoundError as error:
            raise InputError(f'{path}: no such {self.what} file; check data_root and data_prefix of the data set'
                             ) from error
        except Exception as error:
            raise InputError(f'{path}: not a readable {self.what} ({error})') from error
        if loaded is not None and self.load.backend_args is None and '://' not in path:
            check_whole(path)
        return loaded

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.load!r})'


def check_whole(path: str) -> None:
    """Raises :class:`InputError` if the JPEG or PNG file at ``path`` is cut short."""
    with open(path, 'rb') as file:
        head = file.read(8)
        file.seek(-min(8, file.seek(0, 2)), 2)
        tail = file.read()
    if head.startswith(b'\xff\xd8') and not tail.endswith(b'\xff\xd9') or (
            head.startswith(b'\x89PNG') and tail != b'IEND\xaeB`\x82'):
        try:
            with Image.open(path) as image:
                image.load()
        except OSError as error:
            raise InputError(f'{path}: cut short ({error}); fetch it again, or take it out of the annotations'
                             ) from error


def leaves(dataset) -> Iterator:
    """The data sets under wrappers such as ConcatDataset, RepeatDataset and MultiImageMixDataset."""
    inner = getattr(dataset, 'datasets', None) or [
        getattr(dataset, name) for name in ('dataset', '_dataset') if hasattr(dataset, name)]
    if not inner:
        yield dataset
    for child in inner:
        yield from leaves(child)


def check_dataset(dataset) -> None:
    """Refuses an empty data set, and has its loaders of images and label maps report bad files from now on."""
    if not len(dataset):
        raise InputError('the data set is empty: check filter_cfg (filter_empty_gt, min_size), indices and ann_file')
    for leaf in leaves(dataset):
        transforms = getattr(getattr(leaf, 'pipeline', None), 'transforms', [])
        transforms[:] = [CheckedLoad(t) if _loads_a_file(t) else t for t in transforms]


def _loads_a_file(transform) -> bool:
    is_mmseg = type(transform).__module__.startswith('mmseg.')
    return type(transform) is LoadImageFromFile or is_mmseg and isinstance(transform, LoadAnnotations)


def check_classes(model: dict, dataset, config: str) -> None:
    """Compares every head's ``num_classes`` with the classes of the data set.

    Args:
        model (dict): The config of the model.
        dataset: A built data set with ``metainfo['classes']``; one without is not checked.
        config (str): The config's path, for the message.

    Raises:
        InputError: They differ; it names the keys to set.
    """
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if not classes or isinstance(classes, str):
        return
    wrong = [(key, count) for key, count in _class_counts(model, 'model') if count != len(classes)]
    if wrong:
        key, count = wrong[0]
        raise InputError(f'{config}: the data set has {len(classes)} classes ({_some(classes)}), {key} is {count}; set '
                         + ' '.join(f'{key}={len(classes)}' for key, _ in wrong))


def image_folders(dataset) -> list[ImageFolder]:
    """Those of the data sets under wrappers whose classes are folders."""
    return [leaf for leaf in leaves(dataset) if isinstance(leaf, ImageFolder)]


def check_class_folders(dataset, classes: Sequence[str] | None, source: str) -> None:
    """Compares the classes of folders of images with those that a model learns, since labels only count folders.

    Args:
        dataset: A built data set; what is no :class:`ImageFolder` is not checked.
        classes (Sequence[str], optional): What labels 0, 1, ... mean to the model; None: not known.
        source (str): Where that comes from, a folder or a checkpoint, for the message.

    Raises:
        InputError: They differ; it names both sides and the first difference.
    """
    for folder in image_folders(dataset) if classes else ():
        for label, (here, there) in enumerate(zip_longest(folder.metainfo['classes'], classes)):
            if here != there:
                raise InputError(
                    f'{folder.data_prefix["img_path"]}: its folders are other classes than those of {source}: label '
                    f'{label} is {here or "missing"} here and {there or "missing"} there. Give both the same folders, '
                    'or name and order the classes by metainfo=dict(classes=(...)) of the data sets')


def _class_counts(node, path: str) -> Iterator[tuple[str, int]]:
    """(key, num_classes) of the heads; a backbone's classes and a proposal network's one class are not the data's."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in items:
        if key == 'num_classes' and isinstance(value, int):
            yield f'{path}.{key}', value
        elif key not in ('backbone', 'rpn_head', 'semantic_head', 'panoptic_fusion_head', 'pretrain_img_size'):
            yield from _class_counts(value, f'{path}.{key}')
