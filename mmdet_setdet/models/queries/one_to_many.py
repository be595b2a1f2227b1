"""A group of learned queries several of which are matched to each gt, in training only (H-DETR, arXiv 2207.13080)."""

import torch
from mmdet.models.detectors import DetectionTransformer
from torch import nn

from ...errors import InputError
from ...registry import MODELS
from ..assignment import build_one_to_many
from ..ground_truths import GroundTruths
from .group import GroupQueries, QueryGroup


@MODELS.register_module()
class OneToMany(QueryGroup):
    """Learned queries that the decoder and the head train beside the matching queries.

    Args:
        num_queries (int): Number of queries N of the group.
        query_dims (int): Size of a row of the detector's ``query_embedding``.
        match_costs (list[dict]): Costs for an assigner that names none: those of the model's matching.
        assigner (dict, optional): An assigner with ``match``. By default :class:`SinkhornQueryAssigner`, optimal
            transport with a dynamic k; ``dict(type='mmdet_setdet.HungarianAssigner', k=6)`` repeats each gt six times,
            as H-DETR does.
        loss_weight (float): Weight of the group's losses (lambda in H-DETR).

    Raises:
        InputError: ``num_queries`` is below 1.
    """

    def __init__(
        self,
        num_queries: int,
        query_dims: int,
        match_costs: list[dict],
        assigner: dict | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if num_queries < 1:
            raise InputError(
                f'one_to_many.num_queries={num_queries} must be 1 or more; to switch the group off set '
                'model.one_to_many=None'
            )
        self.assigner = build_one_to_many(assigner, match_costs)
        self.query_embedding = nn.Embedding(num_queries, query_dims)
        self.loss_weight = loss_weight

    @classmethod
    def from_detector(cls, detector: DetectionTransformer, **options) -> 'OneToMany':
        """Build the group with queries of the detector's form and the costs of its matching."""
        return cls(
            query_dims=detector.query_embedding.embedding_dim,
            match_costs=detector.train_cfg['assigner']['match_costs'],
            **options,
        )

    def queries_for(self, detector: DetectionTransformer, gts: GroundTruths) -> GroupQueries:
        """The group's learned queries; all of them see each other, and no others."""
        embedding = self.query_embedding.weight
        num_queries = len(embedding)
        return GroupQueries(
            name='one_to_many',
            queries=detector.learned_queries(embedding, len(gts.counts)),
            blocked=torch.zeros(
                num_queries, num_queries, dtype=torch.bool, device=embedding.device
            ),
            sees_matching=False,
            assigner=self.assigner,
            loss_weight=self.loss_weight,
        )
