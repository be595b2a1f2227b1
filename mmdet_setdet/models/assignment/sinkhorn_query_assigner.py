"""Several decoder queries for one object: a transport plan with dynamic k in the place of the Hungarian matching."""
import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from torch import Tensor

from ...registry import TASK_UTILS
from ..ground_truths import GroundTruths
from .hungarian import HungarianAssigner
from .matches import Matches
from .optimal_transport import decode, sinkhorn, with_background
from .ota import dynamic_k


@TASK_UTILS.register_module()
class SinkhornQueryAssigner(HungarianAssigner):
    """Assigns queries to objects by the cheapest transport: k units from each object, the rest from the background.

    OTA's problem (arXiv 2103.14259) between queries and objects. Costs are those of the Hungarian matching, and a query
    of the background costs nothing: the focal cost counts from what the background would cost. A pair whose cost is
    NaN or infinite is never in the plan.

    Args:
        match_costs (list[dict] | dict): mmdet's match costs.
        k (int, optional): Queries an object gets. None estimates it: the sum of its ``top_q`` largest IoU, rounded
            down, at least 1.
        top_q (int): See ``k``.
        eps (float): See :func:`sinkhorn`, and so the next.
        iterations (int): At most so many.

    Raises:
        ValueError: An option has a value that means nothing.
    """

    def __init__(self, match_costs, k: int | None = None, top_q: int = 20, eps: float = 0.1,
                 iterations: int = 50) -> None:
        super().__init__(match_costs)
        for name, value in dict(k=1 if k is None else k, top_q=top_q, iterations=iterations).items():
            if value < 1:
                raise ValueError(f'SinkhornQueryAssigner: {name}={value} must be 1 or more')
        if eps <= 0:
            raise ValueError(f'SinkhornQueryAssigner: eps={eps} must be above 0')
        self.k, self.top_q, self.eps, self.iterations = k, top_q, eps, iterations

    @torch.no_grad()
    def match(self, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Matches:
        """As :meth:`HungarianAssigner.match`, with k pairs for each object, more or less, in every layer."""
        if not gts.total:
            return super().match(logits, boxes, gts)
        costs = self.costs(logits, boxes, gts).transpose(2, 3)
        layers, images, num_gts, queries = costs.shape
        is_object = torch.arange(num_gts) < torch.tensor(gts.counts)[:, None]
        is_object = is_object.to(costs.device, non_blocking=True)
        usable = (costs.isfinite() & is_object[..., None]).flatten(0, 1)
        supply = with_background((self._units(boxes, gts) * is_object).flatten(0, 1), queries)
        # A pair that may not be is dearer than any that may.
        costs = costs.flatten(0, 1)
        forbidden = torch.where(usable, costs, 0).abs().amax((1, 2), keepdim=True) * 2 + 1e3
        costs = F.pad(torch.where(usable, costs, forbidden), (0, 0, 0, 1))
        found = sinkhorn(costs, supply, torch.ones_like(costs[:, 0]), self.eps, self.iterations)
        supplier = decode(found.plan)
        kept = (supplier < num_gts) & usable.gather(1, supplier[:, None].clamp(max=num_gts - 1))[:, 0]
        problem, query = kept.nonzero(as_tuple=True)
        gt = problem % images * num_gts + supplier[problem, query]
        return Matches(problem * queries + query, gt, problem // images, layers)

    def _units(self, boxes: Tensor, gts: GroundTruths) -> Tensor:
        """k of each object in each layer, (L, B, G)."""
        if self.k is not None:
            return gts.labels.new_full((*boxes.shape[:2], gts.labels.shape[1]), self.k)
        pred, target = bbox_cxcywh_to_xyxy(boxes.float()), bbox_cxcywh_to_xyxy(gts.boxes)
        ious = bbox_overlaps(target.expand(len(pred), -1, -1, -1), pred)
        return dynamic_k(ious, self.top_q)
