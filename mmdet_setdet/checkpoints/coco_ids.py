"""COCO's category ids, which the authors of DETR use as classes, and mmdet's 80 classes."""
import re

import torch
from mmdet.datasets import CocoDataset
from torch import Tensor

NUM_IDS = 91
# Ids from 0 to 90 that no category of the detection task has.
UNUSED = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(i for i in range(NUM_IDS) if i not in UNUSED)
# The parameters with a row for each class.
CLASSIFIER = re.compile(r'bbox_head\.(fc_cls|cls_branches\.\d+)\.(weight|bias)$')
LABEL_EMBEDDING = 'denoising.label_enc.weight'


def keep_used_ids(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters for 91 ids -> for mmdet's 80 classes; a row behind the classes (no object, unknown) stays last."""
    def kept(rows: Tensor) -> Tensor:
        return rows[torch.tensor([*COCO_IDS, *range(NUM_IDS, len(rows))])]

    return {name: kept(value) if name == LABEL_EMBEDDING or CLASSIFIER.match(name) else value
            for name, value in weights.items()}


def all_ids_meta() -> dict[str, list]:
    """``dataset_meta`` for 91 classes: names of the ids, ``N/A`` where unused, and a colour for each."""
    classes, palette = ['N/A'] * NUM_IDS, [(0, 0, 0)] * NUM_IDS
    for i, name, colour in zip(COCO_IDS, CocoDataset.METAINFO['classes'], CocoDataset.METAINFO['palette']):
        classes[i], palette[i] = name, colour
    return dict(classes=classes, palette=palette)
