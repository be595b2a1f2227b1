"""COCO's category ids, which the authors of DETR use as classes, and mmdet's 80 classes."""

import re

import torch
from mmdet.datasets import CocoDataset
from torch import Tensor

NUM_IDS = 91
# Ids from 0 to 90 that no category of the detection task has.
UNUSED = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(i for i in range(NUM_IDS) if i not in UNUSED)
# Parameters with one row per class, and in some cases one more.
CLASSIFIER = re.compile(r'bbox_head\.(fc_cls|cls_branches\.\d+)\.(weight|bias)$')
LABEL_EMBEDDINGS = ('denoising.label_enc.weight', 'dn_query_generator.label_embedding.weight')


def keep_used_ids(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reduce parameters for 91 ids to mmdet's 80 classes; a row after the classes (no object, unknown) stays last."""
    kept = {}
    for name, value in weights.items():
        if name in LABEL_EMBEDDINGS or CLASSIFIER.match(name):
            rows = [*COCO_IDS, *range(NUM_IDS, len(value))]
            value = value[torch.tensor(rows)]
        kept[name] = value
    return kept


def all_ids_meta() -> dict[str, list]:
    """Return ``dataset_meta`` for 91 classes: name and colour per id, ``N/A`` and black if unused."""
    classes = ['N/A'] * NUM_IDS
    palette = [(0, 0, 0)] * NUM_IDS
    coco = CocoDataset.METAINFO
    for i, name, colour in zip(COCO_IDS, coco['classes'], coco['palette']):
        classes[i] = name
        palette[i] = colour
    return dict(classes=classes, palette=palette)
