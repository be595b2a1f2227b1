"""Hungarian matching of predictions and ground truths (DETR, equation 1).

It is the exact transport plan of :mod:`optimal_transport` in which every ground truth supplies one unit.
"""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.assigners import HungarianAssigner as MMDetHungarianAssigner
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...errors import InputError
from ...registry import TASK_UTILS
from ..ground_truths import GroundTruths
from .base import BatchAssigner, require_at_least_one
from .device_matching import can_solve, load_solver, match_on_device
from .matches import Matches
from .non_finite_costs import image_name


@TASK_UTILS.register_module()
class HungarianAssigner(BatchAssigner, MMDetHungarianAssigner):
    """Match each ground truth with k predictions, each prediction with at most one, at the lowest total cost.

    :meth:`assign` is mmdet's interface for a single image, so this class can replace mmdet's assigner in any config.
    :meth:`match` solves all decoder layers and images of a step after a single copy from the device.

    Args:
        match_costs (dict | list[dict]): mmdet's match costs, e.g. ``dict(type='FocalLossCost', weight=2.)``.
        k (int): Predictions per ground truth. With more than one every ground truth is repeated k times, as in H-DETR
            (arXiv 2207.13080, K in section 3). :meth:`assign` supports k=1 only.
        on_device (bool): :meth:`match` solves where the costs are, by torch-linear-assignment, which must be installed.
            Of equally cheap matches it may choose others. Batches with costs that are not finite, or with more ground
            truths than queries, are solved by scipy all the same.

    Raises:
        InputError: ``k`` is below 1, or torch-linear-assignment is missing.
    """

    def __init__(self, match_costs: dict | list[dict], k: int = 1, on_device: bool = False) -> None:
        super().__init__(match_costs)
        require_at_least_one(self, k=k)
        self.k = k
        self.solve_on_device = load_solver() if on_device else None

    def match(self, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Matches:
        costs = self.costs(logits, boxes, gts)
        return self.assign_batch(costs, gts.counts, gts.metas)

    def assign_batch(
        self, costs: Tensor, counts: Sequence[int], metas: list[dict] | None = None
    ) -> Matches:
        """Solve the L * B matching problems of a step.

        Args:
            costs (Tensor): Costs, (L, B, Q, G).
            counts (Sequence[int]): Number of ground truths per image; the columns after them are padding.
            metas (list[dict], optional): Meta information per image, to name images in messages.

        Returns:
            Matches: ``min(Q, k * counts[b])`` pairs for image b in each layer, fewer if costs are not finite.

        Raises:
            FloatingPointError: No cost of an image with ground truths is finite (in float16: in many steps in a row).
        """
        self.non_finite_costs.begin_step()
        if self.solve_on_device and can_solve(costs, counts, self.k):
            return match_on_device(self.solve_on_device, costs, counts, self.k)
        num_layers, num_images, num_queries, num_gts = costs.shape
        # One row per ground truth: scipy would transpose every problem. This is the step's only copy to the host.
        table = costs.transpose(2, 3).contiguous().cpu().numpy()
        preds, gts, layers = [], [], []
        for layer, image in np.ndindex(num_layers, num_images):
            cost = table[layer, image, : counts[image]]
            gt, query = self._solve(cost, image_name(metas, image), f'decoder layer {layer}')
            problem = layer * num_images + image
            preds.append(problem * num_queries + query)
            gts.append(image * num_gts + gt)
            layers.append(np.full_like(gt, layer))
        return Matches.from_numpy(
            pred=np.concatenate(preds),
            gt=np.concatenate(gts),
            layer=np.concatenate(layers),
            num_layers=num_layers,
            device=costs.device,
        )

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        img_meta: dict | None = None,
        **kwargs,
    ) -> AssignResult:
        """Match the predictions of one image and one decoder layer (mmdet's interface).

        Args:
            pred_instances (InstanceData): The fields that the match costs read: ``scores`` before softmax or sigmoid
                (Q, K), ``bboxes`` in pixels (Q, 4), or ``masks``.
            gt_instances (InstanceData): ``labels`` (G, ) and ``bboxes`` or ``masks``.
            img_meta (dict, optional): Meta information; the box costs read ``img_shape``.
            **kwargs: Ignored.

        Returns:
            AssignResult: ``gt_inds`` is 0 for background, else the index of the ground truth plus one; ``labels`` is
            -1 for background.

        Raises:
            InputError: ``k`` is more than 1.
            FloatingPointError: No cost of the image is finite.
        """
        if self.k > 1:
            raise InputError(
                f'HungarianAssigner: k={self.k} works for the one_to_many group of a detector of this package, which '
                "calls match; mmdet's heads call assign, which matches each ground truth once: set k=1"
            )
        gt_inds = gt_instances.labels.new_zeros(len(pred_instances))
        labels = torch.full_like(gt_inds, -1)
        if len(gt_instances) and len(pred_instances):
            costs = [
                cost(pred_instances=pred_instances, gt_instances=gt_instances, img_meta=img_meta)
                for cost in self.match_costs
            ]
            total = torch.stack(costs).sum(0)
            table = total.detach().t().float().cpu().numpy()
            name = (img_meta or {}).get('img_path', 'the image')
            matched = self._solve(table, name, 'the predictions')
            gt, pred = torch.from_numpy(np.stack(matched)).to(gt_inds.device)
            gt_inds[pred] = gt + 1
            labels[pred] = gt_instances.labels[gt]
        return AssignResult(
            num_gts=len(gt_instances), gt_inds=gt_inds, max_overlaps=None, labels=labels
        )

    def _solve(
        self, cost: np.ndarray, image: str, predictions: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve the problem of one image.

        Args:
            cost (np.ndarray): (G, Q), without padding.
            image (str): Name of the image, for messages.
            predictions (str): Which predictions these are, for messages.

        Returns:
            tuple[np.ndarray, np.ndarray]: Indices of the matched ground truths, each up to k times, and of their
            predictions, both (P, ).
        """
        is_finite = np.isfinite(cost)
        if not is_finite.all():
            bad_pairs = np.argwhere(~is_finite)
            self.non_finite_costs.report(image, predictions, bad_pairs, cost.size)
            if not is_finite.any():
                nothing = np.zeros(0, dtype=np.int64)
                return nothing, nothing
            # One such pair costs more than any set of finite pairs: as few as possible are chosen, and dropped below.
            low = float(cost[is_finite].min())
            high = float(cost[is_finite].max())
            num_pairs = min(len(cost) * self.k, cost.shape[1])
            forbidding = high + (high - low + 1) * num_pairs
            cost = np.where(is_finite, cost.astype(np.float64), forbidding)
        row, pred = linear_sum_assignment(cost.repeat(self.k, axis=0))
        gt = row // self.k
        is_kept = is_finite[gt, pred]
        return gt[is_kept], pred[is_kept]
