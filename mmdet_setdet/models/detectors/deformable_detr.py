"""Deformable DETR: several feature levels, and queries that sample a few points around their reference points."""

import torch
from mmdet.utils import ConfigType
from mmengine.model import xavier_init
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ...registry import MODELS
from ..layers import FeatureLevels
from .conditional_detr import PointQueries
from .detr import DETR


@MODELS.register_module()
class DeformableDETR(PointQueries, DETR):
    """Deformable DETR (arXiv 2010.04159) in one stage, with :class:`DeformableDETRHead`.

    A query has learned content, a learned position and a reference point, a linear function of the position. Parameters
    have the names of mmdet's DeformableDETR. With anchor boxes as queries it is :class:`DABDETR` with deformable
    layers.

    Args:
        bbox_head (dict): Its ``share_pred_layer`` follows from ``with_box_refine``.
        with_box_refine (bool): Whether each decoder layer refines the box of the layer before, by predictors of its
            own.
        as_two_stage (bool): False: queries are learned. True, proposals of the encoder, is not supported.
        num_feature_levels (int): As :class:`DETR`.
        **kwargs: As :class:`DETR`.

    Raises:
        InputError: ``as_two_stage`` is True.
    """

    default_types = dict(
        encoder='mmdet_setdet.DeformableEncoder', decoder='mmdet_setdet.DeformableDecoder'
    )

    def __init__(
        self,
        *args,
        bbox_head: ConfigType,
        with_box_refine: bool = False,
        as_two_stage: bool = False,
        num_feature_levels: int = 4,
        **kwargs,
    ) -> None:
        if as_two_stage:
            raise InputError(
                "model.as_two_stage=True: mmdet_setdet.DeformableDETR has one stage; take mmdet's "
                "DeformableDETR for two (type='DeformableDETR', without the prefix)"
            )
        self.with_box_refine = with_box_refine
        super().__init__(
            *args,
            bbox_head=dict(bbox_head, share_pred_layer=not with_box_refine),
            num_feature_levels=num_feature_levels,
            **kwargs,
        )

    def _init_queries(self) -> None:
        super()._init_queries()
        self.reference_points_fc = nn.Linear(self.embed_dims, 2)

    @property
    def query_dims(self) -> int:
        """int: Size of a row of ``query_embedding``: position and content."""
        return 2 * self.embed_dims

    def init_weights(self) -> None:
        """Initialise as DETR; reference points are spread by Xavier's rule."""
        super().init_weights()
        xavier_init(self.reference_points_fc, distribution='uniform')

    def learned_queries(self, embedding: Tensor, batch_size: int) -> dict[str, Tensor]:
        """Make queries of learned rows (N, 2 C), position and content.

        Returns:
            dict[str, Tensor]: ``query`` and ``query_pos``, both (B, N, C), and their ``points`` (x, y) before the
            sigmoid, (B, N, 2).
        """
        query_pos, content = embedding.expand(batch_size, -1, -1).chunk(2, -1)
        return dict(
            query=self.mark_as_matching(content),
            query_pos=query_pos,
            points=self.reference_points_fc(query_pos),
        )

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
        """Decode Q queries: ``hidden_states`` (L, B, Q, C), and the ``references`` that layers start from in [0, 1].

        These are the points of all layers, (1, B, Q, 2), or with ``with_box_refine`` boxes, (L, B, Q, 4).
        """
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
            self_attn_mask=self_attn_mask,
        )
        if self.with_box_refine:
            # The first layer has no size to start from; 0.5 is 0 before the sigmoid.
            first = F.pad(references, (0, 2), value=0.5)
            references = torch.cat([first, refined[:-1]])
        return dict(hidden_states=hidden_states, references=references)
