"""The interface of query groups: queries that are trained beside the matching queries and leave no trace at inference.

In training the decoder gets all groups and, last, the matching queries, as one sequence::

    [ group 1 | group 2 | ... | matching queries ]        N_1 + N_2 + ... + M = Q queries per image

The detector asks each :class:`QueryGroup` for its :class:`GroupQueries` of the step, joins them with the matching
queries, and hands the list to the head. The head matches each group by the group's own assigner and adds one loss per
group. Neither knows a group by name.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from mmdet.models.detectors import DetectionTransformer
from mmengine.model import BaseModule
from torch import Tensor

from ..assignment import Matches
from ..ground_truths import GroundTruths


class Assigner(Protocol):
    """Matches the predictions of a group: by costs, or by what is known beforehand."""

    def match(self, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Matches:
        """Match logits (L, B, N, K) and boxes (cx, cy, w, h) in [0, 1], (L, B, N, 4), with the gts of a batch."""


@dataclass
class GroupQueries:
    """The N queries per image that one group adds to a training step.

    Attributes:
        name (str): Names the group's losses: ``dn`` is logged as ``loss_dn``.
        queries (dict[str, Tensor]): In the form of the detector's ``matching_queries``, each (B, N, .).
        blocked (Tensor): Self-attention within the group: True where query i must not see query j, (N, N).
        sees_matching (bool): Whether the group sees the matching queries. They never see the group.
        assigner (Assigner): Which gt each query is trained on.
        valid (Tensor, optional): False where a query is padding, which has no part in the loss, (B, N). None: all
            are valid.
        loss_weight (float): Weight of the group's losses.
    """

    name: str
    queries: dict[str, Tensor]
    blocked: Tensor
    sees_matching: bool
    assigner: Assigner
    valid: Tensor | None = None
    loss_weight: float = 1.0

    def __len__(self) -> int:
        return len(self.blocked)


class QueryGroup(BaseModule):
    """Base class of query groups.

    A subclass is registered with ``mmdet_setdet.registry.MODELS`` and named in a config by
    ``model.query_groups=dict(NAME=dict(type=...))``; its parameters are called ``NAME.*`` in the state dict.
    """

    @classmethod
    @abstractmethod
    def from_detector(cls, detector: DetectionTransformer, **options) -> 'QueryGroup':
        """Build the group for a detector, whose parts all exist by now, from the options of the config."""

    @abstractmethod
    def queries_for(self, detector: DetectionTransformer, gts: GroundTruths) -> GroupQueries:
        """Make the queries of one training step.

        Args:
            detector (DETR): Turns boxes or embeddings into queries of its own form, see ``DETR.noised_queries`` and
                ``DETR.learned_queries``.
            gts (GroundTruths): The gts of the batch.
        """


def joint_mask(groups: Sequence[GroupQueries], num_matching: int) -> Tensor:
    """The self-attention mask of groups and matching queries together.

    For a denoising group, which sees the matching queries, and a one-to-many group, which does not::

                        denoising   one-to-many   matching           . may be seen
        denoising        blocked         x           .               x is masked
        one-to-many         x         blocked        x
        matching            x            x           .

    Args:
        groups (Sequence[GroupQueries]): At least one; anything with ``blocked``, ``sees_matching`` and a length.
        num_matching (int): The number of matching queries M, which follow the groups.

    Returns:
        Tensor: True where query i must not see query j, (Q, Q).
    """
    first_matching = sum(len(group) for group in groups)
    num_queries = first_matching + num_matching
    mask = torch.ones(num_queries, num_queries, dtype=torch.bool, device=groups[0].blocked.device)
    mask[first_matching:, first_matching:] = False
    start = 0
    for group in groups:
        end = start + len(group)
        mask[start:end, start:end] = group.blocked
        mask[start:end, first_matching:] = not group.sees_matching
        start = end
    return mask
