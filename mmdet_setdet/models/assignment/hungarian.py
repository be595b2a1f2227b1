"""Hungarian matching: the exact transport plan when every object supplies one unit (DETR, equation 1)."""
from collections.abc import Sequence

import numpy as np
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.assigners import HungarianAssigner as MMDetHungarianAssigner
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...registry import TASK_UTILS
from ..ground_truths import GroundTruths
from .costs import pairwise_costs
from .matches import Matches


@TASK_UTILS.register_module()
class HungarianAssigner(MMDetHungarianAssigner):
    """Matches predictions and objects one to one at the lowest total cost.

    :meth:`assign` is mmdet's interface for one image, so the class takes the place of mmdet's assigner in any config.
    :meth:`assign_batch` solves all decoder layers and images of a step after a single copy from the device.

    A cost that is NaN or infinite means *never match*: the pair is left out of the plan, and the first time a warning
    says where it came from.

    Args:
        match_costs (list[dict] | dict): mmdet's match costs, e.g. ``dict(type='FocalLossCost', weight=2.)``.
        units (int): Predictions that each object is matched with: more than one repeat the objects, as H-DETR does
            (arXiv 2207.13080, K). :meth:`assign` knows one only, since its result names one object a prediction.

    Raises:
        ValueError: ``units`` is below 1.
    """

    def __init__(self, match_costs, units: int = 1) -> None:
        super().__init__(match_costs)
        if units < 1:
            raise ValueError(f'HungarianAssigner: units={units} must be 1 or more')
        self.units = units
        self._warned = False

    def match(self, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Matches:
        """One plan for logits (L, B, Q, K) and boxes (cx, cy, w, h) in [0, 1], (L, B, Q, 4), of a whole step."""
        return self.assign_batch(self.costs(logits, boxes, gts), gts.counts, gts.metas)

    def costs(self, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
        """Costs (L, B, Q, G) of logits (L, B, Q, K) and boxes (L, B, Q, 4), see :func:`pairwise_costs`."""
        return pairwise_costs(self.match_costs, logits, boxes, gts)

    def assign_batch(self, costs: Tensor, num_gts: Sequence[int], metas: list[dict] | None = None) -> Matches:
        """One plan for a whole step.

        Args:
            costs (Tensor): Costs, (L, B, Q, G) with G at least the largest of ``num_gts``.
            num_gts (Sequence[int]): Objects of each image; columns from there on are padding.
            metas (list[dict], optional): Meta information of the images, to name them in messages.

        Returns:
            Matches: ``min(Q, units * num_gts[b])`` pairs for image b in each layer, fewer where costs are not finite.

        Raises:
            FloatingPointError: No cost of an image is finite.
        """
        layers, images, queries, width = costs.shape
        # An object a row, or scipy would transpose every problem. This is the step's one copy to the host.
        table = costs.transpose(2, 3).contiguous().cpu().numpy()
        problems, pred, gt = np.divmod(np.arange(layers * images), images), [], []
        for layer, image in zip(*problems):
            rows, cols = self._solve(table[layer, image, :num_gts[image]], f'decoder layer {layer}',
                                     metas[image] if metas else None, self.units)
            pred.append(cols + (layer * images + image) * queries)
            gt.append(rows + image * width)
        layer = np.repeat(problems[0], [len(pairs) for pairs in pred])
        return Matches.from_numpy(np.concatenate(pred), np.concatenate(gt), layer, layers, costs.device)

    def assign(self,
               pred_instances: InstanceData,
               gt_instances: InstanceData,
               img_meta: dict | None = None,
               **kwargs) -> AssignResult:
        """mmdet's interface: one image, one decoder layer.

        Args:
            pred_instances (InstanceData): Predictions with what the match costs read: ``scores`` before softmax or
                sigmoid (Q, K), ``bboxes`` in pixels (Q, 4), or ``masks``.
            gt_instances (InstanceData): Objects with ``labels`` (G, ) and ``bboxes`` or ``masks``.
            img_meta (dict, optional): Meta information; ``img_shape`` is read by the box costs.

        Returns:
            AssignResult: ``gt_inds`` is 0 for background, else the object's index plus one; ``labels`` is -1 for
            background.

        Raises:
            FloatingPointError: No cost of the image is finite.
        """
        gt_inds = gt_instances.labels.new_zeros(len(pred_instances))
        labels = torch.full_like(gt_inds, -1)
        if len(gt_instances) and len(pred_instances):
            inputs = dict(pred_instances=pred_instances, gt_instances=gt_instances, img_meta=img_meta)
            costs = torch.stack([cost(**inputs) for cost in self.match_costs]).sum(0)
            rows, cols = self._solve(costs.detach().t().float().cpu().numpy(), 'the predictions', img_meta)
            matched = torch.from_numpy(np.stack([rows, cols])).to(gt_inds.device)
            gt_inds[matched[1]] = matched[0] + 1
            labels[matched[1]] = gt_instances.labels[matched[0]]
        return AssignResult(num_gts=len(gt_instances), gt_inds=gt_inds, max_overlaps=None, labels=labels)

    def _solve(self, cost: np.ndarray, origin: str, meta: dict | None, units: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Solves one (G, Q) problem: indices of matched objects, each ``units`` times, and of their predictions."""
        finite = np.isfinite(cost)
        if not finite.all():
            self._warn(cost, finite, origin, meta)
            # Dearer than any set of finite pairs: as few as possible of these pairs are used, and none is kept.
            low, high = cost[finite].min(), cost[finite].max()
            forbidden = float(high) + (float(high) - float(low) + 1) * min(len(cost) * units, cost.shape[1])
            cost = np.where(finite, cost.astype(np.float64), forbidden)
        rows, cols = linear_sum_assignment(cost if units == 1 else cost.repeat(units, axis=0))
        rows = rows // units
        kept = finite[rows, cols]
        return rows[kept], cols[kept]

    def _warn(self, cost: np.ndarray, finite: np.ndarray, origin: str, meta: dict | None) -> None:
        """Warns of costs that are not finite, once; raises if there is no other."""
        image = (meta or {}).get('img_path', 'an image of the batch')
        objects, preds = np.nonzero(~finite)
        if not finite.any():
            raise FloatingPointError(
                f'{image}: no matching cost between its {len(cost)} objects and {origin} is finite, from prediction '
                f'{preds[0]} on: the model has diverged (lower the learning rate) or the boxes of the image are NaN')
        if not self._warned:
            self._warned = True
            MMLogger.get_current_instance().warning(
                f'{image}: {len(preds)} of {cost.size} matching costs of {origin} are not finite, the first between '
                f'object {objects[0]} and prediction {preds[0]}; such pairs are never matched. Said once.')
