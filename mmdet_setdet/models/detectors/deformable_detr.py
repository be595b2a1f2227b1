"""Deformable DETR: several feature levels, and queries that look at a few points around their reference points."""

import torch
from mmdet.utils import ConfigType
from mmengine.model import xavier_init
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..denoising import DenoisingQueries
from ..layers import FeatureLevels
from .detr import DETR


@MODELS.register_module()
class DeformableDETR(DETR):
    """Deformable DETR (arXiv 2010.04159) in one stage, with :class:`DeformableDETRHead`.

    A query has learnt content, a learnt position and a reference point, a linear function of the position. Parameters
    have the names of mmdet's DeformableDETR. Queries that are anchor boxes instead are :class:`DNDETR` with deformable
    layers.

    Args:
        bbox_head (dict): Its ``share_pred_layer`` follows from ``with_box_refine``.
        with_box_refine (bool): Each decoder layer refines the box of the layer before, by predictors of its own.
        **kwargs: As :class:`DETR`.
    """
    default_types = dict(encoder='mmdet_setdet.DeformableEncoder', decoder='mmdet_setdet.DeformableDecoder')

    def __init__(self, *args, bbox_head: ConfigType, with_box_refine: bool = False, **kwargs) -> None:
        self.with_box_refine = with_box_refine
        super().__init__(*args, bbox_head=dict(bbox_head, share_pred_layer=not with_box_refine), **kwargs)

    def _init_queries(self) -> None:
        self.query_embedding = nn.Embedding(self.num_queries, 2 * self.embed_dims)
        self.reference_points_fc = nn.Linear(self.embed_dims, 2)

    def init_weights(self) -> None:
        """As DETR; reference points spread by Xavier's rule."""
        super().init_weights()
        xavier_init(self.reference_points_fc, distribution='uniform')

    def matching_queries(self, batch_size: int) -> dict[str, Tensor]:
        """Learnt content and positions, both (B, M, C), and their ``points`` (x, y) before the sigmoid, (B, M, 2)."""
        query_pos, query = self.query_embedding.weight.expand(batch_size, -1, -1).chunk(2, -1)
        return dict(query=self._know_nothing(query), query_pos=query_pos, points=self.reference_points_fc(query_pos))

    def noised_queries(self, noised: DenoisingQueries) -> dict[str, Tensor]:
        """Denoising queries in the form of :meth:`matching_queries`: the noised centre is the reference point.

        The position is learnt from the whole noised box, as in :meth:`DETR.noised_queries`: the point says nothing
        about the size.
        """
        return dict(super().noised_queries(noised), points=noised.anchors[..., :2])

    def forward_decoder(self, query: Tensor, query_pos: Tensor, points: Tensor, self_attn_mask: Tensor | None,
                        memory: Tensor, memory_mask: Tensor | None, memory_pos: Tensor,
                        levels: FeatureLevels) -> dict[str, Tensor]:
        """Hidden states (L, B, Q, C), and what layers start from in [0, 1]: the reference points of all layers,
        (1, B, Q, 2), or with ``with_box_refine`` boxes, (L, B, Q, 4)."""
        references = points.sigmoid()[None]
        hidden_states, refined = self.decoder(
            query=query,
            query_pos=query_pos,
            value=memory,
            key_padding_mask=memory_mask,
            reference_points=references[0],
            spatial_shapes=levels.shapes,
            level_start_index=None,
            valid_ratios=levels.valid_ratios,
            reg_branches=self.bbox_head.box_branches if self.with_box_refine else None,
            self_attn_mask=self_attn_mask)
        if self.with_box_refine:
            # The first layer has no size to start from; 0.5 is 0 before the sigmoid.
            references = torch.cat([F.pad(references, (0, 2), value=0.5), refined[:-1]])
        return dict(hidden_states=hidden_states, references=references)
