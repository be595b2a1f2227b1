"""Conditional DETR: DETR whose queries have reference points."""

from torch import Tensor

from ...registry import MODELS
from ..denoising import DenoisingQueries
from ..layers import FeatureLevels
from .detr import DETR


@MODELS.register_module()
class ConditionalDETR(DETR):
    """Conditional DETR (arXiv 2108.06152), with :class:`DETRHead` and a sigmoid loss.

    A query has content, a learnt position and a reference point, which the decoder looks near and the head predicts
    from. A learnt query's point is a function of its position. Parameters have the names of mmdet's ConditionalDETR.
    """
    default_types = dict(encoder='mmdet_setdet.DETREncoder', decoder='mmdet_setdet.ConditionalDecoder')

    def matching_queries(self, batch_size: int) -> dict[str, Tensor]:
        """As :meth:`DETR.matching_queries`, and their ``points`` (x, y) before the sigmoid, (B, M, 2)."""
        queries = super().matching_queries(batch_size)
        return dict(queries, points=self.decoder.ref_point_head(queries['query_pos']))

    def noised_queries(self, noised: DenoisingQueries) -> dict[str, Tensor]:
        """Denoising queries in the form of :meth:`matching_queries`: the noised centre is the reference point.

        The position is learnt from the whole noised box, as in :meth:`DETR.noised_queries`: the point says nothing
        about the size.
        """
        return dict(super().noised_queries(noised), points=noised.anchors[..., :2])

    def forward_decoder(self, query: Tensor, query_pos: Tensor, points: Tensor, self_attn_mask: Tensor | None,
                        memory: Tensor, memory_mask: Tensor | None, memory_pos: Tensor,
                        levels: FeatureLevels) -> dict[str, Tensor]:
        """Hidden states (L, B, Q, C) and the reference points of all layers, (1, B, Q, 2) in [0, 1]."""
        hidden_states = self.decoder(query, query_pos, points, memory, memory_pos, self_attn_mask, memory_mask)
        return dict(hidden_states=hidden_states, references=points.sigmoid()[None])
