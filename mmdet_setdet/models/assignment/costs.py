"""Matching costs of all decoder layers and images at once.

The costs are configured by mmdet's classes (``ClassificationCost``, ``FocalLossCost``, ``BBoxL1Cost``, ``IoUCost``), so
a list ``match_costs`` means the same in both packages. mmdet computes them for one image and one decoder layer. Here
each cost is one batched expression of predictions (L, B, Q, .) and ground truths (B, G, .). It is laid out as
(L, B, G, Q): the many queries are contiguous in memory, and the solver reads one row per ground truth.
"""

from collections.abc import Callable

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

from ...errors import InputError
from ..ground_truths import GroundTruths


def softmax_cost(
    cost: ClassificationCost, logits: Tensor, boxes: Tensor, gts: GroundTruths
) -> Tensor:
    """Return minus the probability of the ground truth's class (DETR, section 3.1)."""
    return _of_classes(logits.softmax(-1), gts.labels).neg_()


def focal_cost(cost: FocalLossCost, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """Return the focal loss as a positive minus the focal loss as a negative (Deformable DETR, appendix A.4)."""
    if cost.binary_input:
        raise InputError(
            'FocalLossCost(binary_input=True) compares masks, which assign_batch does not have; use assign'
        )
    prob = _of_classes(logits, gts.labels).sigmoid_()
    rest = 1 - prob
    positive = _minus_focal_loss(prob, rest, cost).mul_(cost.alpha)
    negative = _minus_focal_loss(rest, prob, cost).mul_(1 - cost.alpha)
    return negative.sub_(positive)


def _minus_focal_loss(right: Tensor, wrong: Tensor, cost: FocalLossCost) -> Tensor:
    """Return (1 - p)^gamma log(p) of the probability p of the right answer."""
    log_right = (right + cost.eps).log_()
    return wrong.pow(cost.gamma).mul_(log_right)


def l1_cost(cost: BBoxL1Cost, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """Return the L1 distance of normalised boxes, as (cx, cy, w, h) or as corners by the cost's ``box_format``."""
    gt_boxes = gts.boxes
    if cost.box_format == 'xyxy':
        boxes = bbox_cxcywh_to_xyxy(boxes)
        gt_boxes = bbox_cxcywh_to_xyxy(gt_boxes)
    first, *others = _coordinate_pairs(boxes, gt_boxes)
    distance = (first[0] - first[1]).abs_()
    for coordinate, gt_coordinate in others:
        distance += (coordinate - gt_coordinate).abs_()
    return distance


def iou_cost(cost: IoUCost, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
    """Return minus the (generalised) IoU. It does not depend on the unit, so normalised boxes are sufficient."""
    corners = bbox_cxcywh_to_xyxy(boxes)
    gt_corners = bbox_cxcywh_to_xyxy(gts.boxes)
    if cost.iou_mode != 'giou':
        gt_corners = gt_corners.expand(len(corners), -1, -1, -1)
        return -bbox_overlaps(corners, gt_corners, mode=cost.iou_mode).transpose(2, 3)
    # mmdet's bbox_overlaps works on tensors (..., 2), which a CPU cannot vectorise: 5 to 10 times slower.
    coordinates = _coordinate_pairs(corners, gt_corners)
    (left, gt_left), (top, gt_top), (right, gt_right), (bottom, gt_bottom) = coordinates
    inter_width = torch.minimum(right, gt_right) - torch.maximum(left, gt_left)
    inter_height = torch.minimum(bottom, gt_bottom) - torch.maximum(top, gt_top)
    inter = inter_width.clamp_(min=0).mul_(inter_height.clamp_(min=0))
    area = (right - left) * (bottom - top)
    gt_area = (gt_right - gt_left) * (gt_bottom - gt_top)
    union = (area + gt_area).sub_(inter).clamp_(min=1e-6)
    hull = torch.maximum(right, gt_right) - torch.minimum(left, gt_left)
    hull *= torch.maximum(bottom, gt_bottom) - torch.minimum(top, gt_top)
    # Minus GIoU is 1 - IoU - union / hull.
    one_minus_iou = 1 - inter.div_(union)
    return one_minus_iou.sub_(union.div_(hull.clamp_(min=1e-6)))


BATCHED: dict[type[BaseMatchCost], Callable[..., Tensor]] = {
    ClassificationCost: softmax_cost,
    FocalLossCost: focal_cost,
    BBoxL1Cost: l1_cost,
    IoUCost: iou_cost,
}


@torch.no_grad()
def pairwise_costs(
    match_costs: list[BaseMatchCost], logits: Tensor, boxes: Tensor, gts: GroundTruths
) -> Tensor:
    """Return the weighted sum of all costs.

    Args:
        match_costs (list[BaseMatchCost]): mmdet's costs, of which ``weight`` and options are read.
        logits (Tensor): Class scores before softmax or sigmoid, (L, B, Q, K).
        boxes (Tensor): Boxes (cx, cy, w, h) in [0, 1], (L, B, Q, 4).
        gts (GroundTruths): The ground truths, padded to G per image.

    Returns:
        Tensor: Costs, float32, (L, B, Q, G), a view of (L, B, G, Q) in memory. Columns of padding hold meaningless
        finite numbers.

    Raises:
        TypeError: A cost has no batched form.
    """
    unknown = [type(cost).__name__ for cost in match_costs if type(cost) not in BATCHED]
    if unknown:
        known = [kind.__name__ for kind in BATCHED]
        raise TypeError(
            f'{unknown} in match_costs cannot be computed for a whole batch; assign_batch knows {known}'
        )
    logits = logits.detach().float()
    boxes = boxes.detach().float()
    total = None
    for cost in match_costs:
        term = BATCHED[type(cost)](cost, logits, boxes, gts).mul_(cost.weight)
        total = term if total is None else total.add_(term)
    return total.transpose(2, 3)


def _of_classes(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the scores of the classes of the ground truths: (L, B, Q, K) and (B, G) -> (L, B, G, Q)."""
    num_layers, _, num_queries, _ = scores.shape
    index = labels[None, :, None].expand(num_layers, -1, num_queries, -1)
    return scores.gather(3, index).transpose(2, 3).contiguous()


def _coordinate_pairs(boxes: Tensor, gt_boxes: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return each coordinate of boxes (L, B, Q, 4) and (B, G, 4) as a pair that broadcasts to (L, B, G, Q)."""
    coordinates = boxes.permute(3, 0, 1, 2).contiguous()[:, :, :, None]
    gt_coordinates = gt_boxes.permute(2, 0, 1)[..., None]
    return list(zip(coordinates, gt_coordinates))
