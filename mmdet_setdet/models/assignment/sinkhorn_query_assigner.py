"""Assign several decoder queries to each ground truth by optimal transport with dynamic k."""

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from torch import Tensor

from ...errors import InputError
from ...registry import TASK_UTILS
from ..ground_truths import GroundTruths
from .base import BatchAssigner, require_at_least_one
from .matches import Matches
from .non_finite_costs import image_name
from .optimal_transport import decode_plan, dynamic_k, sinkhorn, with_background


def build_one_to_many(options: dict | None, match_costs: list[dict] | None) -> BatchAssigner:
    """Build an assigner of several predictions per gt: by transport, unless the options name another ``type``.

    Args:
        options (dict, optional): Options of the assigner.
        match_costs (list[dict], optional): Costs for options that name none: those of the model's matching.
    """
    default = dict(type='mmdet_setdet.SinkhornQueryAssigner', match_costs=match_costs)
    return TASK_UTILS.build({**default, **(options or {})})


@TASK_UTILS.register_module()
class SinkhornQueryAssigner(BatchAssigner):
    """Assign queries by the cheapest transport: each ground truth supplies k units, the background the rest.

    This is OTA's problem (arXiv 2103.14259) between queries and ground truths. The costs are those of Hungarian
    matching. A query of the background costs nothing: the focal cost is already relative to it.

    Args:
        match_costs (dict | list[dict]): mmdet's match costs.
        k (int, optional): Queries per ground truth. None estimates it, see :func:`dynamic_k`.
        top_q (int): Number of IoUs in that estimate.
        eps (float): Weight of the entropy, see :func:`sinkhorn`.
        iterations (int): Maximum number of Sinkhorn iterations.

    Raises:
        InputError: An option is out of range.
    """

    def __init__(
        self,
        match_costs: dict | list[dict],
        k: int | None = None,
        top_q: int = 20,
        eps: float = 0.1,
        iterations: int = 50,
    ) -> None:
        super().__init__(match_costs)
        require_at_least_one(self, k=k, top_q=top_q, iterations=iterations)
        if eps <= 0:
            raise InputError(f'SinkhornQueryAssigner: eps={eps} must be above 0')
        self.k = k
        self.top_q = top_q
        self.eps = eps
        self.iterations = iterations

    @torch.no_grad()
    def match(self, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Matches:
        """Match each ground truth with about k queries in every layer, see :meth:`BatchAssigner.match`.

        Reads the device once, like :class:`HungarianAssigner`.
        """
        num_layers, num_images, num_queries, _ = logits.shape
        num_gts = gts.labels.shape[1]
        if num_gts == 0:
            nothing = np.zeros(0, dtype=np.int64)
            return Matches.from_numpy(nothing, nothing, nothing, num_layers, logits.device)

        # One problem per layer and image, (L * B, G, Q).
        costs = self.costs(logits, boxes, gts).transpose(2, 3)
        costs = costs.flatten(0, 1)
        is_gt = gts.mask.repeat(num_layers, 1)[..., None]
        is_finite = costs.isfinite()
        is_bad = is_gt & ~is_finite
        is_usable = is_gt & is_finite
        k = self._k(boxes, gts) * gts.mask
        supplier = self._solve(costs, is_usable, k.flatten(0, 1))

        # The index of each query's ground truth, -1 for background; in the last column the number of bad costs.
        pair = supplier.clamp(max=num_gts - 1)[:, None]
        is_supplier_usable = is_usable.gather(1, pair)[:, 0]
        is_matched = (supplier < num_gts) & is_supplier_usable
        gt = torch.where(is_matched, supplier, -1)
        num_bad = is_bad.sum((1, 2))[:, None]
        table = torch.cat([gt, num_bad], 1).cpu().numpy()
        gt = table[:, :-1]
        num_bad = table[:, -1]
        for problem in np.flatnonzero(num_bad):
            self._report(problem, is_bad, gts)
        problem, query = np.nonzero(gt >= 0)
        layer, image = np.divmod(problem, num_images)
        return Matches.from_numpy(
            pred=problem * num_queries + query,
            gt=image * num_gts + gt[problem, query],
            layer=layer,
            num_layers=num_layers,
            device=logits.device,
        )

    def _k(self, boxes: Tensor, gts: GroundTruths) -> Tensor:
        """Return k of each ground truth in each layer, long, (L, B, G)."""
        if self.k is not None:
            return torch.full_like(gts.labels, self.k).expand(len(boxes), -1, -1)
        corners = bbox_cxcywh_to_xyxy(boxes.float())
        gt_corners = bbox_cxcywh_to_xyxy(gts.boxes)
        gt_corners = gt_corners.expand(len(boxes), -1, -1, -1)
        ious = bbox_overlaps(gt_corners, corners)
        return dynamic_k(ious, self.top_q)

    def _solve(self, costs: Tensor, is_usable: Tensor, k: Tensor) -> Tensor:
        """Return the supplier of each query, G for the background, long, (P, Q).

        Args:
            costs (Tensor): Costs of P problems, (P, G, Q).
            is_usable (Tensor): Pairs that may be matched, bool, (P, G, Q).
            k (Tensor): Queries per ground truth, 0 where padded, (P, G).
        """
        # Other pairs cost more than any usable pair.
        usable_costs = torch.where(is_usable, costs, 0)
        highest = usable_costs.abs().amax((1, 2), keepdim=True)
        costs = torch.where(is_usable, costs, highest * 2 + 1e3)
        costs_with_background = F.pad(costs, (0, 0, 0, 1))
        supply = with_background(k, costs.shape[2])
        demand = torch.ones_like(costs[:, 0])
        transport = sinkhorn(costs_with_background, supply, demand, self.eps, self.iterations)
        return decode_plan(transport.plan)

    def _report(self, problem: int, is_bad: Tensor, gts: GroundTruths) -> None:
        """Report the costs of one problem that are not finite."""
        layer, image = divmod(int(problem), len(gts.counts))
        self.non_finite_costs.report(
            image=image_name(gts.metas, image),
            predictions=f'decoder layer {layer}',
            pairs=is_bad[problem].nonzero(),
            num_costs=gts.counts[image] * is_bad.shape[2],
        )
