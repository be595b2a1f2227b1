"""Deformable DETR: several feature levels, and queries that sample a few points around their reference points."""

from mmdet.models.detectors import DeformableDETR as MMDetDeformableDETR
from mmdet.utils import ConfigType
from mmengine.model import xavier_init
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import FeatureLevels
from ..queries import BoxPosition, DenoisingQueries
from .conditional_detr import PointQueries
from .detr import DETR
from .two_stage import TwoStage


@MODELS.register_module()
class DeformableDETR(TwoStage, PointQueries, DETR):
    """Deformable DETR (arXiv 2010.04159), with :class:`DeformableDETRHead`.

    In one stage a query has learned content, a learned position and a reference point, a linear function of the
    position. In two stages its reference is a box that the encoder proposes, of which content and position are
    functions. Parameters have the names of mmdet's DeformableDETR. With anchor boxes as queries it is :class:`DABDETR`
    with deformable layers.

    Args:
        bbox_head (dict): Its ``share_pred_layer`` follows from ``with_box_refine``.
        with_box_refine (bool): Whether each decoder layer refines the box of the layer before, by predictors of its
            own.
        mixed_query_selection (bool): With ``as_two_stage``: whether contents are learned, and the position alone is a
            function of the proposal (DINO, section 3.4).
        num_feature_levels (int): As :class:`DETR`.
        **kwargs: As :class:`TwoStage` and :class:`DETR`.
    """

    default_types = dict(
        encoder='mmdet_setdet.DeformableEncoder', decoder='mmdet_setdet.DeformableDecoder'
    )

    def __init__(
        self,
        *args,
        bbox_head: ConfigType,
        with_box_refine: bool = False,
        mixed_query_selection: bool = False,
        num_feature_levels: int = 4,
        **kwargs,
    ) -> None:
        self.with_box_refine = with_box_refine
        self.mixed_query_selection = mixed_query_selection
        super().__init__(
            *args,
            bbox_head=dict(bbox_head, share_pred_layer=not with_box_refine),
            num_feature_levels=num_feature_levels,
            **kwargs,
        )

    def _init_queries(self) -> None:
        if not self.as_two_stage:
            super()._init_queries()
            self.reference_points_fc = nn.Linear(self.embed_dims, 2)
            return
        self._init_proposals()
        if self.denoising is not None:
            self.box_pos_head = BoxPosition(self.embed_dims)
        if self.mixed_query_selection:
            self.query_embedding = nn.Embedding(self.num_queries, self.embed_dims)
        self.pos_trans_fc = nn.Linear(2 * self.embed_dims, 2 * self.embed_dims)
        self.pos_trans_norm = nn.LayerNorm(2 * self.embed_dims)

    @property
    def query_dims(self) -> int:
        """int: Size of a row of ``query_embedding``: position and content."""
        return 2 * self.embed_dims

    def init_weights(self) -> None:
        """Initialise as DETR; what references are made of, or positions of them, by Xavier's rule."""
        super().init_weights()
        if self.as_two_stage:
            nn.init.xavier_uniform_(self.pos_trans_fc.weight)
        else:
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

    def proposed_queries(self, anchors: Tensor) -> dict[str, Tensor]:
        """Make the matching queries of proposals (cx, cy, w, h) before the sigmoid, (B, M, 4): their ``points``."""
        encoding = MMDetDeformableDETR.get_proposal_pos_embed(anchors, self.embed_dims // 2)
        position_and_content = self.pos_trans_norm(self.pos_trans_fc(encoding))
        query_pos, content = position_and_content.chunk(2, -1)
        if self.mixed_query_selection:
            content = self.query_embedding.weight[: anchors.shape[1]].expand_as(content)
        return dict(query=self.mark_as_matching(content), query_pos=query_pos, points=anchors)

    def noised_queries(self, noised: DenoisingQueries) -> dict[str, Tensor]:
        """Make queries of noised gts: in two stages the reference is the noised box, else its centre."""
        queries = super().noised_queries(noised)
        return dict(queries, points=noised.anchors) if self.as_two_stage else queries

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

        These are the references of all layers, (1, B, Q, 2 or 4), or with ``with_box_refine`` boxes, (L, B, Q, 4).
        """
        hidden_states, references = self.decoder(
            query=query,
            references=points,
            memory=memory,
            levels=levels,
            query_pos=query_pos,
            box_branches=self.bbox_head.box_branches if self.with_box_refine else None,
            self_attn_mask=self_attn_mask,
            memory_mask=memory_mask,
        )
        return dict(hidden_states=hidden_states, references=references)
