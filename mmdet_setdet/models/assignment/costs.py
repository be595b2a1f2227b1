"""Matching costs of all decoder layers and images at once.

The costs are configured by mmdet's classes (``ClassificationCost``, ``FocalLossCost``, ``BBoxL1Cost``, ``IoUCost``), so
a list ``match_costs`` means the same in both packages. mmdet computes them for one image and one decoder layer. Here
each cost is one batched expression of the P = L * B problems: predictions (P, Q, .) and ground truths (P, G, .) give
(P, G, Q). The many queries are contiguous in memory, and the solver reads one row per ground truth.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

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

CACHED_PAIRS = 2**18  # of which each intermediate result takes 1 MiB


class Problems(NamedTuple):
    """Matching problems side by side.

    Attributes:
        logits (Tensor): Class scores before softmax or sigmoid, (P, Q, K).
        boxes (Tensor): Boxes (cx, cy, w, h) in [0, 1], (P, Q, 4).
        labels (Tensor): Classes of the ground truths, (P, G).
        gt_boxes (Tensor): Boxes (cx, cy, w, h) in [0, 1], (P, G, 4).
    """

    logits: Tensor
    boxes: Tensor
    labels: Tensor
    gt_boxes: Tensor

    def of_classes(self, scores: Tensor) -> Tensor:
        """Return the scores of the classes of the ground truths: (P, Q, K) -> (P, G, Q)."""
        index = self.labels[:, None].expand(-1, scores.shape[1], -1)
        return scores.gather(2, index).transpose(1, 2).contiguous()

    @property
    def at_a_time(self) -> int:
        """int: As many problems as a CPU's cache holds; all of them on other devices.

        With 100 objects per image that halves the time, with 300 it takes a sixth.
        """
        num_pairs = self.labels.shape[1] * self.boxes.shape[1]
        is_cached = self.boxes.device.type == 'cpu' and num_pairs
        return max(CACHED_PAIRS // num_pairs, 1) if is_cached else len(self.boxes)

    def split(self) -> Iterator['Problems']:
        """Yield :attr:`at_a_time` problems after each other."""
        yield from map(Problems._make, zip(*(part.split(self.at_a_time) for part in self)))


def softmax_cost(cost: ClassificationCost, problems: Problems) -> Tensor:
    """Return minus the probability of the ground truth's class (DETR, section 3.1)."""
    return problems.of_classes(problems.logits.softmax(-1)).neg_()


def focal_cost(cost: FocalLossCost, problems: Problems) -> Tensor:
    """Return the focal loss as a positive minus the focal loss as a negative (Deformable DETR, appendix A.4)."""
    if cost.binary_input:
        raise InputError(
            'FocalLossCost(binary_input=True) compares masks, which assign_batch does not have; use assign'
        )
    # Whichever are fewer: the pairs of queries and ground truths, or those of queries and classes.
    logits = problems.logits
    if problems.labels.shape[1] < logits.shape[2]:
        return _focal_difference(problems.of_classes(logits), cost)
    return problems.of_classes(_focal_difference(logits, cost))


def _focal_difference(logits: Tensor, cost: FocalLossCost) -> Tensor:
    prob = logits.sigmoid()
    rest = 1 - prob
    positive = _minus_focal_loss(prob, rest, cost).mul_(cost.alpha)
    negative = _minus_focal_loss(rest, prob, cost).mul_(1 - cost.alpha)
    return negative.sub_(positive)


def _minus_focal_loss(right: Tensor, wrong: Tensor, cost: FocalLossCost) -> Tensor:
    """Return (1 - p)^gamma log(p) of the probability p of the right answer."""
    log_right = (right + cost.eps).log_()
    return wrong.pow(cost.gamma).mul_(log_right)


def l1_cost(cost: BBoxL1Cost, problems: Problems) -> Tensor:
    """Return the L1 distance of normalised boxes, as (cx, cy, w, h) or as corners by the cost's ``box_format``."""
    boxes, gt_boxes = problems.boxes, problems.gt_boxes
    if cost.box_format == 'xyxy':
        boxes = bbox_cxcywh_to_xyxy(boxes)
        gt_boxes = bbox_cxcywh_to_xyxy(gt_boxes)
    first, *others = _coordinate_pairs(boxes, gt_boxes)
    distance = (first[0] - first[1]).abs_()
    for coordinate, gt_coordinate in others:
        distance += (coordinate - gt_coordinate).abs_()
    return distance


def iou_cost(cost: IoUCost, problems: Problems) -> Tensor:
    """Return minus the (generalised) IoU. It does not depend on the unit, so normalised boxes are sufficient."""
    corners = bbox_cxcywh_to_xyxy(problems.boxes)
    gt_corners = bbox_cxcywh_to_xyxy(problems.gt_boxes)
    if cost.iou_mode != 'giou':
        return -bbox_overlaps(gt_corners, corners, mode=cost.iou_mode)
    # mmdet's bbox_overlaps works on tensors (..., 2), which a CPU cannot vectorise: 5 to 10 times slower.
    coordinates = _coordinate_pairs(corners, gt_corners)
    (left, gt_left), (top, gt_top), (right, gt_right), (bottom, gt_bottom) = coordinates
    width, height = right - left, bottom - top
    gt_width, gt_height = gt_right - gt_left, gt_bottom - gt_top
    # Below 0 where there is a gap. With it their hull is as wide as both boxes together, less what they share.
    inter_width = torch.minimum(right, gt_right).sub_(torch.maximum(left, gt_left))
    inter_height = torch.minimum(bottom, gt_bottom).sub_(torch.maximum(top, gt_top))
    hull = (width + gt_width).sub_(inter_width)
    hull *= (height + gt_height).sub_(inter_height)
    inter = inter_width.clamp_(min=0).mul_(inter_height.clamp_(min=0))
    union = (width * height + gt_width * gt_height).sub_(inter).clamp_(min=1e-6)
    # Minus GIoU is 1 - IoU - union / hull.
    return (1 - inter.div_(union)).sub_(union.div_(hull.clamp_(min=1e-6)))


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
    num_layers = len(logits)
    problems = Problems(
        logits.detach().float().flatten(0, 1),
        boxes.detach().float().flatten(0, 1),
        gts.labels.repeat(num_layers, 1),
        gts.boxes.repeat(num_layers, 1, 1),
    )
    num_problems, num_queries, _ = problems.boxes.shape
    table = problems.boxes.new_zeros(num_problems, problems.labels.shape[1], num_queries)
    for part, costs in zip(problems.split(), table.split(problems.at_a_time)):
        for cost in match_costs:
            costs.add_(BATCHED[type(cost)](cost, part), alpha=cost.weight)
    return table.unflatten(0, (num_layers, -1)).transpose(2, 3)


def _coordinate_pairs(boxes: Tensor, gt_boxes: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return each coordinate of boxes (P, Q, 4) and (P, G, 4) as a pair that broadcasts to (P, G, Q)."""
    coordinates = boxes.permute(2, 0, 1).contiguous()[:, :, None]
    gt_coordinates = gt_boxes.permute(2, 0, 1)[..., None]
    return list(zip(coordinates, gt_coordinates))
