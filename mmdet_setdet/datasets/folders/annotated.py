"""What a folder of annotated images holds, whatever its format: COCO's annotations of each split."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError

VAL_SHARE = 0.2
SEED = 0


@dataclass
class AnnotatedFolder:
    """Annotated images.

    Attributes:
        kind (str): 'COCO', 'YOLO' or 'VOC'.
        folder (Path): Where the images lie; ``file_name`` in the splits is relative to it.
        splits (dict[str, dict]): The content of a COCO annotation file for 'train', 'val' and perhaps 'test'. All have
            the same ``categories``.
    """

    kind: str
    folder: Path
    splits: dict[str, dict]

    @property
    def classes(self) -> list[str]:
        """list[str]: Names of the classes."""
        first = next(iter(self.splits.values()))
        return [category['name'] for category in first['categories']]


def as_coco(classes: Sequence[str], images: Sequence[dict]) -> dict:
    """Return the content of a COCO annotation file.

    Args:
        classes (Sequence[str]): Names of the classes; category ids are 1, 2, ...
        images (Sequence[dict]): ``file_name``, ``width``, ``height`` and ``objects``, each a dict of ``label`` (index
            of the class), ``box`` (x1, y1, x2, y2) in pixels and ``ignore``.
    """
    categories = [dict(id=index, name=name) for index, name in enumerate(classes, 1)]
    entries, annotations = [], []
    for image_id, image in enumerate(images, 1):
        sizes = {key: image[key] for key in ('file_name', 'width', 'height')}
        entries.append(dict(id=image_id, **sizes))
        for one in image['objects']:
            x1, y1, x2, y2 = one['box']
            width, height = x2 - x1, y2 - y1
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=one['label'] + 1,
                    bbox=[x1, y1, width, height],
                    area=width * height,
                    iscrowd=int(one.get('ignore', False)),
                )
            )
    return dict(images=entries, annotations=annotations, categories=categories)


def with_val(splits: dict[str, dict]) -> dict[str, dict]:
    """Return splits with 'train' and 'val': where one is missing, a fifth of the images is set aside, always the same.

    A lone 'test' serves as 'val'.
    """
    splits = dict(splits)
    if 'train' not in splits:
        splits['train'] = splits.pop('all', None) or splits.pop('val', None) or splits.pop('test')
    if 'val' not in splits and 'test' in splits:
        splits['val'] = splits['test']
    if 'val' not in splits:
        splits['train'], splits['val'] = _divide(splits['train'])
    return {name: splits[name] for name in ('train', 'val', 'test') if name in splits}


def _divide(coco: dict) -> tuple[dict, dict]:
    images = coco['images']
    count = max(round(len(images) * VAL_SHARE), 1)
    if count >= len(images):
        raise InputError(
            f'{len(images)} image is too few to train on some and judge on others; give at least 2'
        )
    drawn = random.Random(SEED).sample([image['id'] for image in images], count)
    in_val = set(drawn)
    return _subset(coco, lambda i: i not in in_val), _subset(coco, in_val.__contains__)


def _subset(coco: dict, is_chosen) -> dict:
    images = [image for image in coco['images'] if is_chosen(image['id'])]
    annotations = [note for note in coco['annotations'] if is_chosen(note['image_id'])]
    return dict(coco, images=images, annotations=annotations)
