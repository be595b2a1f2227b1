"""A second group of queries, in training only, of which each object supplies several (H-DETR, arXiv 2207.13080)."""
from mmdet.registry import TASK_UTILS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F


class OneToMany(BaseModule):
    """Anchors of their own for queries that the same decoder and head train beside the others.

    Args:
        num_queries (int): Queries of the group.
        match_costs (list[dict]): Costs for an assigner that names none: those of the model's matching.
        assigner (dict): Who answers for whom: an assigner with ``match``. By default :class:`SinkhornQueryAssigner`, a
            transport plan with dynamic k; ``dict(type='mmdet_setdet.HungarianAssigner', k=6)`` repeats the objects,
            as H-DETR does.
        loss_weight (float): Weight of the group's losses (lambda in H-DETR).

    Raises:
        ValueError: There is no query.
    """

    def __init__(self,
                 num_queries: int,
                 match_costs: list[dict],
                 assigner: dict | None = None,
                 loss_weight: float = 1.) -> None:
        super().__init__()
        if num_queries < 1:
            raise ValueError(f'one_to_many.num_queries={num_queries} must be 1 or more; to switch the group off set '
                             'model.one_to_many=None')
        self.num_queries, self.loss_weight = num_queries, loss_weight
        self.assigner = TASK_UTILS.build({
            'type': 'mmdet_setdet.SinkhornQueryAssigner', 'match_costs': match_costs, **(assigner or {})})
        self.query_embedding = nn.Embedding(num_queries, 4)

    def hide(self, mask: Tensor) -> Tensor:
        """A self-attention mask (Q, Q), True where row i must not see column j, with this group behind: neither sees
        the other."""
        wider = F.pad(mask, (0, self.num_queries, 0, self.num_queries), value=True)
        wider[len(mask):, len(mask):] = False
        return wider
