"""DAB-DETR: DETR whose queries are anchor boxes; with denoising it is DN-DETR."""

import torch
from mmdet.models.layers.transformer import inverse_sigmoid
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..layers import FeatureLevels
from ..queries import DenoisingQueries
from .detr import DETR
from .two_stage import TwoStage


@MODELS.register_module(name=['DABDETR', 'DNDETR'])
class DABDETR(TwoStage, DETR):
    """DAB-DETR (arXiv 2201.12329), and with ``denoising`` DN-DETR (arXiv 2203.01305).

    .. code:: text

        gts -> denoising -> content, anchors, mask -.
                                                    v
        learned anchors, content ----------------> decoder -> head -> losses of both parts | results

    Parameters have the names of mmdet's DABDETR; ``denoising.label_enc`` is the authors' ``label_enc``.

    Args:
        num_patterns (int): Number of patterns, i.e. learned contents, that each anchor is tried with; 0 for none.
            Multiplies the number of queries (Anchor DETR, section 3.3).
        with_random_refpoints (bool): Whether anchor centres are drawn uniformly over the image and stay fixed.
        learn_content (bool): Whether each matching query has a content of its own, ``tgt_embed``, instead of a common
            one. With ``as_two_stage`` this is DINO's mixed query selection: anchors of the encoder, learned contents.
        **kwargs: As :class:`TwoStage` and :class:`DETR`. With ``as_two_stage`` anchors are proposals of the encoder,
            which needs deformable layers.
    """

    default_types = dict(encoder='mmdet_setdet.DABEncoder', decoder='mmdet_setdet.DABDecoder')

    def __init__(
        self,
        *args,
        num_patterns: int = 0,
        with_random_refpoints: bool = False,
        learn_content: bool = False,
        **kwargs,
    ) -> None:
        self.num_patterns = num_patterns
        self.with_random_refpoints = with_random_refpoints
        self.learn_content = learn_content
        super().__init__(*args, **kwargs)

    def _init_queries(self) -> None:
        if self.as_two_stage:
            self._init_proposals()
        else:
            self.query_embedding = nn.Embedding(self.num_queries, 4)
        if self.learn_content:
            # As in the authors' code, contents of two stages have no indicator.
            has_indicator = self.denoising is not None and not self.as_two_stage
            self.tgt_embed = nn.Embedding(self.num_queries, self.embed_dims - has_indicator)
        if self.num_patterns > 0:
            self.patterns = nn.Embedding(self.num_patterns, self.embed_dims)

    def init_weights(self) -> None:
        """Initialise as DETR; with ``with_random_refpoints`` the centres are spread over the image."""
        super().init_weights()
        if self.as_two_stage and self.learn_content:
            nn.init.xavier_uniform_(self.learned_content())
        if self.with_random_refpoints and not self.as_two_stage:
            centres = self.query_embedding.weight.data[:, :2]
            centres.copy_(inverse_sigmoid(torch.rand_like(centres), eps=1e-3))

    def matching_queries(self, batch_size: int) -> dict[str, Tensor]:
        """The M queries that are matched by costs, see :meth:`learned_queries`; M = anchors x patterns."""
        anchors = self.query_embedding.weight
        if self.with_random_refpoints:
            fixed_centres = anchors[:, :2].detach()
            anchors = torch.cat([fixed_centres, anchors[:, 2:]], 1)
        return self._with_content(self.learned_queries(anchors, batch_size))

    def proposed_queries(self, anchors: Tensor) -> dict[str, Tensor]:
        """Make the matching queries of proposals (cx, cy, w, h) before the sigmoid, (B, M, 4): they are the anchors."""
        content = anchors.new_zeros(*anchors.shape[:2], self.embed_dims)
        return self._with_content(dict(query=self.mark_as_matching(content), anchors=anchors))

    def learned_content(self) -> Tensor:
        """The content of each matching query, (M, C); with an indicator of 0, if there is denoising."""
        missing = self.embed_dims - self.tgt_embed.embedding_dim
        return F.pad(self.tgt_embed.weight, (0, missing)) if missing else self.tgt_embed.weight

    def _with_content(self, queries: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give queries of M anchors their content: ``learn_content``, ``num_patterns``."""
        batch_size, num_anchors = queries['anchors'].shape[:2]
        if self.learn_content:
            content = self.learned_content()[:num_anchors]
            queries['query'] = content.expand(batch_size, -1, -1)
        if self.num_patterns > 0:
            # Pattern after pattern, each with all anchors.
            content = queries['query'][:, None] + self.patterns.weight[:, None]
            queries['query'] = content.flatten(1, 2)
            queries['anchors'] = queries['anchors'].repeat(1, self.num_patterns, 1)
        return queries

    def learned_queries(self, embedding: Tensor, batch_size: int) -> dict[str, Tensor]:
        """Make queries of learned anchors (N, 4).

        Returns:
            dict[str, Tensor]: ``anchors`` (cx, cy, w, h) before the sigmoid, (B, N, 4), and ``query``, their common
            content, (B, N, C).
        """
        anchors = embedding.expand(batch_size, -1, -1)
        content = anchors.new_zeros(batch_size, len(embedding), self.embed_dims)
        return dict(query=self.mark_as_matching(content), anchors=anchors)

    def noised_queries(self, noised: DenoisingQueries) -> dict[str, Tensor]:
        """Make queries of noised gts: noised boxes are anchors."""
        return dict(query=noised.content, anchors=noised.anchors)

    def forward_decoder(
        self,
        query: Tensor,
        anchors: Tensor,
        self_attn_mask: Tensor | None,
        memory: Tensor,
        memory_mask: Tensor | None,
        memory_pos: Tensor,
        levels: FeatureLevels,
    ) -> dict[str, Tensor]:
        """Decode Q queries: ``hidden_states`` (L, B, Q, C), and as ``references`` the boxes that layers start from in
        [0, 1], (L, B, Q, 4)."""
        hidden_states, references = self.decoder(
            query=query,
            anchors=anchors,
            memory=memory,
            memory_pos=memory_pos,
            box_branches=self.bbox_head.box_branches,
            levels=levels,
            self_attn_mask=self_attn_mask,
            memory_mask=memory_mask,
        )
        return dict(hidden_states=hidden_states, references=references)
