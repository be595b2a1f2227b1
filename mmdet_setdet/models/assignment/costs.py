"""Pairwise matching costs of all decoder layers and images at once.

The costs are configured as mmdet's (``ClassificationCost``, ``FocalLossCost``, ``BBoxL1Cost``, ``IoUCost``), so a
``match_costs`` list means the same here and there. mmdet computes them for one image and one decoder layer; here each
is one batched expression of (L, B, Q, .) predictions against (B, G, .) ground truths.
"""
from typing import Callable, Dict, List, Type

import torch
from mmdet.models.task_modules.assigners.match_cost import (BaseMatchCost, BBoxL1Cost, ClassificationCost,
                                                            FocalLossCost, IoUCost)
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from torch import Tensor

from ..ground_truths import GroundTruths


def _of_labels(scores: Tensor, labels: Tensor) -> Tensor:
    """Picks from (L, B, Q, K) scores the columns of (B, G) labels: (L, B, Q, G)."""
    layers, _, queries, _ = scores.shape
    return scores.gather(3, labels[None, :, None].expand(layers, -1, queries, -1))


def softmax_cost(cost: ClassificationCost, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """Minus the probability of the object's class (DETR, section 3.1)."""
    return -_of_labels(logits.softmax(-1), gts.labels)


def focal_cost(cost: FocalLossCost, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """The focal loss as a positive minus the focal loss as a negative (Deformable DETR, appendix A.4)."""
    if cost.binary_input:
        raise ValueError('FocalLossCost(binary_input=True) compares masks, which assign_batch does not have; use assign')
    prob = _of_labels(logits, gts.labels).sigmoid()
    negative = -(1 - prob + cost.eps).log() * (1 - cost.alpha) * prob.pow(cost.gamma)
    positive = -(prob + cost.eps).log() * cost.alpha * (1 - prob).pow(cost.gamma)
    return positive - negative


def l1_cost(cost: BBoxL1Cost, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """L1 distance of normalised boxes, as (cx, cy, w, h) or as (x1, y1, x2, y2) by the cost's ``box_format``."""
    pred, target = boxes, gts.boxes.expand(len(boxes), -1, -1, -1)
    if cost.box_format == 'xyxy':
        pred, target = bbox_cxcywh_to_xyxy(pred), bbox_cxcywh_to_xyxy(target)
    return torch.cdist(pred, target, p=1)


def iou_cost(cost: IoUCost, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """Minus the (generalised) IoU. It is invariant under the change of units, so normalised boxes do."""
    target = bbox_cxcywh_to_xyxy(gts.boxes).expand(len(boxes), -1, -1, -1)
    return -bbox_overlaps(bbox_cxcywh_to_xyxy(boxes), target, mode=cost.iou_mode)


BATCHED: Dict[Type[BaseMatchCost], Callable[..., Tensor]] = {
    ClassificationCost: softmax_cost,
    FocalLossCost: focal_cost,
    BBoxL1Cost: l1_cost,
    IoUCost: iou_cost,
}


@torch.no_grad()
def pairwise_costs(match_costs: List[BaseMatchCost], logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """The weighted sum of all costs.

    Args:
        match_costs (list): mmdet's cost objects; their ``weight`` and options are read.
        logits (Tensor): Class scores before softmax or sigmoid, (L, B, Q, K).
        boxes (Tensor): Boxes (cx, cy, w, h) in [0, 1], (L, B, Q, 4).
        gts (GroundTruths): The objects of the batch, padded to G.

    Returns:
        Tensor: Costs, float32, (L, B, Q, G). Columns of padding hold finite numbers without meaning.

    Raises:
        TypeError: A cost has no batched form.
    """
    unknown = [type(cost).__name__ for cost in match_costs if type(cost) not in BATCHED]
    if unknown:
        raise TypeError(f'{unknown} in match_costs cannot be computed for a whole batch; '
                        f'assign_batch knows {[known.__name__ for known in BATCHED]}')
    logits, boxes = logits.detach().float(), boxes.detach().float()
    return sum(cost.weight * BATCHED[type(cost)](cost, logits, boxes, gts) for cost in match_costs)
