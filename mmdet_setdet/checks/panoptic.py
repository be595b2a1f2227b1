"""Checks of COCO's panoptic annotation files."""

from collections.abc import Sequence
from pathlib import Path

from mmdet.datasets import CocoPanopticDataset
from mmdet.datasets.api_wrappers import COCOPanoptic

from ..errors import InputError
from .annotation_fields import check_lists
from .annotations import CheckedReading

IMAGE_FIELDS = ('id', 'file_name', 'width', 'height')
CATEGORY_FIELDS = ('id', 'name', 'isthing')
ANNOTATION_FIELDS = ('image_id', 'file_name', 'segments_info')
SEGMENT_FIELDS = ('id', 'category_id', 'area', 'bbox')


def check_panoptic_annotations(coco: dict, file: str) -> None:
    """Check a parsed panoptic annotation file.

    Args:
        coco (dict): Content of the file.
        file (str): Path of the file, for the messages.

    Raises:
        InputError: A list or field is missing, there is no image, or the category of a segment is not listed.
    """
    check_lists(coco, file)
    _with_fields(coco['images'], 'image', IMAGE_FIELDS, file)
    categories = _with_fields(coco['categories'], 'category', CATEGORY_FIELDS, file)
    annotations = _with_fields(coco['annotations'], 'annotation', ANNOTATION_FIELDS, file)
    category_ids = {category['id'] for category in categories}
    for annotation in annotations:
        segments = _with_fields(annotation['segments_info'], 'segment', SEGMENT_FIELDS, file)
        for segment in segments:
            if segment['category_id'] not in category_ids:
                raise InputError(
                    f'{file}: segment {segment["id"]} of image {annotation["image_id"]} has category_id '
                    f'{segment["category_id"]}, which is not among the {len(category_ids)} ids in "categories"'
                )


def _with_fields(entries: list[dict], kind: str, fields: Sequence[str], file: str) -> list[dict]:
    """Return the entries of a list after checking that each has all fields."""
    for number, entry in enumerate(entries):
        for field in fields:
            if not isinstance(entry, dict) or field not in entry:
                name = (
                    entry.get('id', f'number {number}')
                    if isinstance(entry, dict)
                    else f'number {number}'
                )
                raise InputError(f'{file}: {kind} {name} has no "{field}"')
    return entries


class CheckedCOCOPanoptic(CheckedReading, COCOPanoptic):
    """mmdet's reader of panoptic annotations with :func:`check_panoptic_annotations`."""

    def check(self) -> None:
        check_panoptic_annotations(self.dataset, self._file)


def check_panoptic_folder(dataset) -> None:
    """Check that the folder of the panoptic PNGs of a data set exists.

    Raises:
        InputError: It does not.
    """
    if not isinstance(dataset, CocoPanopticDataset):
        return
    folder = dataset.data_prefix.get('seg')
    if folder and '://' not in folder and not Path(folder).is_dir():
        raise InputError(
            f'{folder}: no such folder of panoptic PNGs; extract panoptic_annotations_trainval2017.zip of COCO there, '
            'or set data_prefix.seg of the data set'
        )
