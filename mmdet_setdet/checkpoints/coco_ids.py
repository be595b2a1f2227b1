"""COCO's category ids, which the authors of DETR use as classes, and mmdet's 80 or, with stuff, 133 classes."""

import re
from collections.abc import Sequence

import torch
from mmdet.datasets import CocoDataset, CocoPanopticDataset
from torch import Tensor

NUM_IDS = 91
# Ids from 0 to 90 that no category of the detection task has.
UNUSED = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(i for i in range(NUM_IDS) if i not in UNUSED)
# With stuff the authors have 250 classes, more than there are ids. Ids of stuff go from 92 to 200, with gaps.
NUM_PANOPTIC_IDS = 250
STUFF_IDS = (
    *(92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145),
    *(147, 148, 149, 151, 154, 155, 156, 159, 161, 166, 168, 171, 175, 176, 177, 178, 180, 181),
    *range(184, 201),
)
# By the authors' number of classes: the ids of mmdet's classes, and a data set that names these.
USED_IDS = {NUM_IDS: COCO_IDS, NUM_PANOPTIC_IDS: COCO_IDS + STUFF_IDS}
DATA_SETS = {NUM_IDS: CocoDataset, NUM_PANOPTIC_IDS: CocoPanopticDataset}
# Parameters with one row per class, and in some cases one more.
CLASSIFIER = re.compile(r'bbox_head\.(fc_cls|cls_branches\.\d+)\.(weight|bias)$')
LABEL_EMBEDDINGS = ('denoising.label_enc.weight', 'dn_query_generator.label_embedding.weight')


def num_ids(num_rows: int, num_extra_rows: int) -> int | None:
    """Return the number of the authors' classes if a classifier has a row for each, and extra ones; else None."""
    number = num_rows - num_extra_rows
    return number if number in USED_IDS else None


def keep_used_ids(weights: dict[str, Tensor], number: int = NUM_IDS) -> dict[str, Tensor]:
    """Reduce parameters for the authors' classes to mmdet's; a row after them (no object, unknown) stays last."""
    kept = {}
    for name, value in weights.items():
        if name in LABEL_EMBEDDINGS or CLASSIFIER.match(name):
            rows = [*USED_IDS[number], *range(number, len(value))]
            value = value[torch.tensor(rows)]
        kept[name] = value
    return kept


def all_ids_meta(number: int = NUM_IDS) -> dict[str, Sequence]:
    """Return ``dataset_meta`` for the authors' classes: name and colour per id, ``N/A`` and black if unused."""
    classes = ['N/A'] * number
    palette = [(0, 0, 0)] * number
    coco = DATA_SETS[number].METAINFO
    for i, name, colour in zip(USED_IDS[number], coco['classes'], coco['palette']):
        classes[i] = name
        palette[i] = colour
    return dict(classes=classes, palette=palette)
