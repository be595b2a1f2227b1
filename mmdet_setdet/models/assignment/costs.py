"""Pairwise matching costs of all decoder layers and images at once.

The costs are configured as mmdet's (``ClassificationCost``, ``FocalLossCost``, ``BBoxL1Cost``, ``IoUCost``), so a
``match_costs`` list means the same here and there. mmdet computes them for one image and one decoder layer; here each
is one batched expression of (L, B, Q, .) predictions against (B, G, .) ground truths, laid out as (L, B, G, Q): the
many queries are next to each other in memory, and an object's row is what the solver reads.
"""
from collections.abc import Callable, Iterator
from functools import reduce

import torch
from mmdet.models.task_modules.assigners.match_cost import (
    BaseMatchCost,
    BBoxL1Cost,
    ClassificationCost,
    FocalLossCost,
    IoUCost,
)
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from torch import Tensor

from ..ground_truths import GroundTruths


def _of_labels(scores: Tensor, labels: Tensor) -> Tensor:
    """Picks from (L, B, Q, K) scores the columns of (B, G) labels: (L, B, G, Q)."""
    layers, _, queries, _ = scores.shape
    return scores.gather(3, labels[None, :, None].expand(layers, -1, queries, -1)).transpose(2, 3).contiguous()


def _coordinates(boxes: Tensor, gt_boxes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each of the four coordinates of boxes (L, B, Q, 4) and (B, G, 4) as a pair that broadcasts to (L, B, G, Q)."""
    return zip(boxes.permute(3, 0, 1, 2).contiguous()[:, :, :, None], gt_boxes.permute(2, 0, 1)[..., None])


def softmax_cost(cost: ClassificationCost, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """Minus the probability of the object's class (DETR, section 3.1)."""
    return _of_labels(logits.softmax(-1), gts.labels).neg_()


def focal_cost(cost: FocalLossCost, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """The focal loss as a positive minus the focal loss as a negative (Deformable DETR, appendix A.4)."""
    if cost.binary_input:
        raise ValueError('FocalLossCost(binary_input=True) compares masks, which assign_batch has not; use assign')
    prob = _of_labels(logits, gts.labels).sigmoid_()
    rest = 1 - prob
    positive = rest.pow(cost.gamma).mul_((prob + cost.eps).log_()).mul_(cost.alpha)
    negative = prob.pow(cost.gamma).mul_((rest + cost.eps).log_()).mul_(1 - cost.alpha)
    return negative.sub_(positive)  # both are losses with their sign changed


def l1_cost(cost: BBoxL1Cost, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """L1 distance of normalised boxes, as (cx, cy, w, h) or as (x1, y1, x2, y2) by the cost's ``box_format``."""
    pred, target = boxes, gts.boxes
    if cost.box_format == 'xyxy':
        pred, target = bbox_cxcywh_to_xyxy(pred), bbox_cxcywh_to_xyxy(target)
    return reduce(Tensor.add_, ((p - t).abs_() for p, t in _coordinates(pred, target)))


def iou_cost(cost: IoUCost, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """Minus the (generalised) IoU. It is invariant under the change of units, so normalised boxes do."""
    pred, target = bbox_cxcywh_to_xyxy(boxes), bbox_cxcywh_to_xyxy(gts.boxes)
    if cost.iou_mode != 'giou':
        return -bbox_overlaps(pred, target.expand(len(pred), -1, -1, -1), mode=cost.iou_mode).transpose(2, 3)
    # mmdet's bbox_overlaps works on tensors (..., 2), in which a CPU cannot use its vectors: 5 to 10 times slower.
    (left, gt_left), (top, gt_top), (right, gt_right), (bottom, gt_bottom) = _coordinates(pred, target)
    inter = (torch.minimum(right, gt_right) - torch.maximum(left, gt_left)).clamp_(min=0)
    inter *= (torch.minimum(bottom, gt_bottom) - torch.maximum(top, gt_top)).clamp_(min=0)
    area, gt_area = (right - left) * (bottom - top), (gt_right - gt_left) * (gt_bottom - gt_top)
    union = (area + gt_area).sub_(inter).clamp_(min=1e-6)
    hull = torch.maximum(right, gt_right) - torch.minimum(left, gt_left)
    hull *= torch.maximum(bottom, gt_bottom) - torch.minimum(top, gt_top)
    return (1 - inter.div_(union)).sub_(union.div_(hull.clamp_(min=1e-6)))


BATCHED: dict[type[BaseMatchCost], Callable[..., Tensor]] = {
    ClassificationCost: softmax_cost,
    FocalLossCost: focal_cost,
    BBoxL1Cost: l1_cost,
    IoUCost: iou_cost,
}


@torch.no_grad()
def pairwise_costs(match_costs: list[BaseMatchCost], logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """The weighted sum of all costs.

    Args:
        match_costs (list): mmdet's cost objects; their ``weight`` and options are read.
        logits (Tensor): Class scores before softmax or sigmoid, (L, B, Q, K).
        boxes (Tensor): Boxes (cx, cy, w, h) in [0, 1], (L, B, Q, 4).
        gts (GroundTruths): The objects of the batch, padded to G.

    Returns:
        Tensor: Costs, float32, (L, B, Q, G), a view of (L, B, G, Q) in memory. Columns of padding hold finite numbers
        without meaning.

    Raises:
        TypeError: A cost has no batched form.
    """
    unknown = [type(cost).__name__ for cost in match_costs if type(cost) not in BATCHED]
    if unknown:
        raise TypeError(f'{unknown} in match_costs cannot be computed for a whole batch; '
                        f'assign_batch knows {[known.__name__ for known in BATCHED]}')
    logits, boxes = logits.detach().float(), boxes.detach().float()
    terms = (BATCHED[type(cost)](cost, logits, boxes, gts).mul_(cost.weight) for cost in match_costs)
    return reduce(Tensor.add_, terms).transpose(2, 3)
