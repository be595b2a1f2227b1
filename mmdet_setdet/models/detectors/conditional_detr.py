"""Conditional DETR: DETR whose queries have reference points."""

from torch import Tensor

from ...registry import MODELS
from ..layers import FeatureLevels
from ..queries import DenoisingQueries
from .detr import DETR


class PointQueries:
    """For detectors whose queries have a reference point beside their position: the ``points`` of noised gts."""

    def noised_queries(self, noised: DenoisingQueries) -> dict[str, Tensor]:
        """Make queries of noised gts: the noised centre is the reference point.

        The position is learned from the whole noised box, as in :meth:`DETR.noised_queries`: the point does not tell
        the size.
        """
        queries = super().noised_queries(noised)
        return dict(queries, points=noised.anchors[..., :2])


@MODELS.register_module()
class ConditionalDETR(PointQueries, DETR):
    """Conditional DETR (arXiv 2108.06152), with :class:`DETRHead` and a sigmoid loss.

    A query has content, a learned position and a reference point, near which the decoder looks and from which the head
    predicts. A learned query's point is a function of its position. Parameters have the names of mmdet's
    ConditionalDETR.
    """

    default_types = dict(
        encoder='mmdet_setdet.DETREncoder', decoder='mmdet_setdet.ConditionalDecoder'
    )

    def learned_queries(self, embedding: Tensor, batch_size: int) -> dict[str, Tensor]:
        """As :meth:`DETR.learned_queries`, and their ``points`` (x, y) before the sigmoid, (B, N, 2)."""
        queries = super().learned_queries(embedding, batch_size)
        points = self.decoder.ref_point_head(queries['query_pos'])
        return dict(queries, points=points)

    def forward_decoder(
        self,
        query: Tensor,
        query_pos: Tensor,
        points: Tensor,
        self_attn_mask: Tensor | None,
        memory: Tensor,
        memory_mask: Tensor | None,
        memory_pos: Tensor,
        levels: FeatureLevels,
    ) -> dict[str, Tensor]:
        """Decode Q queries: ``hidden_states`` (L, B, Q, C), and the ``references`` of all layers, (1, B, Q, 2)."""
        hidden_states = self.decoder(
            query, query_pos, points, memory, memory_pos, self_attn_mask, memory_mask
        )
        return dict(hidden_states=hidden_states, references=points.sigmoid()[None])
