"""Random predictions for the assigners of queries, and their matches in a readable form."""

import torch

from helpers.batches import random_samples
from mmdet_setdet.models.ground_truths import GroundTruths

SIZES = [(120, 128), (96, 160), (112, 144)]
BOX_COSTS = [
    dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
    dict(type='IoUCost', iou_mode='giou', weight=2.0),
]
FOCAL_COSTS = [dict(type='FocalLossCost', weight=2.0, eps=1e-8), *BOX_COSTS]


def random_batch(counts, layers=3, queries=12):
    """Return samples, their ground truths, and random logits and boxes of all layers."""
    sizes = SIZES[: len(counts)]
    samples = random_samples(sizes, (128, 160), counts, num_classes=9)
    gts = GroundTruths.from_samples(samples)
    logits = torch.randn(layers, len(counts), queries, 10)
    boxes = torch.rand(layers, len(counts), queries, 4) * 0.5 + 0.1
    return samples, gts, logits, boxes


def pairs_of(matches, gts=None, *, num_queries, num_images=None, num_gts=None):
    """Return the matches as {(layer, image): {(query, gt)}}, and check that their three indices agree."""
    if gts is not None:
        num_images, num_gts = gts.labels.shape
    pairs = {}
    rows = torch.stack([matches.pred, matches.gt, matches.layer], 1)
    for pred, gt, layer in rows.tolist():
        problem, query = divmod(pred, num_queries)
        image, gt = divmod(gt, num_gts)
        assert divmod(problem, num_images) == (layer, image)
        pairs.setdefault((layer, image), set()).add((query, gt))
    return pairs
