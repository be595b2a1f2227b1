"""DN-DETR: DAB-DETR whose training is helped by denoising; without denoising it is DAB-DETR."""

import torch
from mmdet.utils import OptConfigType
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..denoising import DenoisingQueries
from ..ground_truths import GroundTruths
from ..layers import FeatureLevels, inverse_sigmoid
from ..one_to_many import OneToMany
from .detr import DETR


@MODELS.register_module()
class DNDETR(DETR):
    """DN-DETR (arXiv 2203.01305), or DAB-DETR (arXiv 2201.12329) with ``denoising=None``.

    .. code:: text

        ground truths -> denoising --> content, anchors, mask -.
                                                               v
        learnt anchors, content ----------------------------> decoder -> head -> losses of both parts | results

    Parameters have the names of mmdet's DABDETR; ``denoising.label_enc`` is the authors' ``label_enc``.

    Args:
        num_patterns (int): Patterns, i.e. learnt contents, that each anchor is tried with; 0 for none. Multiplies the
            number of queries (Anchor DETR, section 3.3).
        random_refpoints_xy (bool): Anchor centres are drawn evenly over the image and stay fixed.
        learn_content (bool): Each matching query has a content of its own, ``tgt_embed``, instead of a common one.
        one_to_many (dict, optional): Arguments of :class:`OneToMany` but the costs, which are those of the matching: in
            training, a second group of queries is decoded beside the others, and objects supply several of them.
            None: no such group.
    """
    default_types = dict(encoder='mmdet_setdet.DABEncoder', decoder='mmdet_setdet.DABDecoder')

    def __init__(self,
                 *args,
                 num_patterns: int = 0,
                 random_refpoints_xy: bool = False,
                 learn_content: bool = False,
                 one_to_many: OptConfigType = None,
                 **kwargs) -> None:
        self.num_patterns = num_patterns
        self.random_refpoints_xy = random_refpoints_xy
        self.learn_content = learn_content
        self.one_to_many = one_to_many
        super().__init__(*args, **kwargs)

    def _init_queries(self) -> None:
        self.query_embedding = nn.Embedding(self.num_queries, 4)
        if self.learn_content:
            indicator = self.denoising is not None
            self.tgt_embed = nn.Embedding(self.num_queries, self.embed_dims - indicator)
        if self.num_patterns > 0:
            self.patterns = nn.Embedding(self.num_patterns, self.embed_dims)
        if not self.train_cfg:
            self.one_to_many = None  # there is nothing to train it by
        elif self.one_to_many is not None:
            self.one_to_many = OneToMany(match_costs=self.train_cfg['assigner']['match_costs'], **self.one_to_many)

    def _init_noised_queries(self) -> None:
        """Nothing: a noised box is an anchor, which is what queries are here."""

    def init_weights(self) -> None:
        """As DETR; with ``random_refpoints_xy`` the centres are spread over the image and take no gradient."""
        super().init_weights()
        if self.random_refpoints_xy:
            centres = self.query_embedding.weight.data[:, :2]
            centres.copy_(inverse_sigmoid(torch.rand_like(centres)))

    def pre_decoder(self, memory: Tensor, gts: GroundTruths | None = None) -> dict[str, Tensor]:
        """As :meth:`DETR.pre_decoder`, and while training O queries of ``one_to_many`` behind the others."""
        queries = super().pre_decoder(memory, gts)
        if self.one_to_many is None or gts is None or not self.training:
            return queries
        anchors = self.one_to_many.query_embedding.weight.expand(len(memory), -1, -1)
        content = self._know_nothing(anchors.new_zeros(*anchors.shape[:2], self.embed_dims))
        mask = queries['self_attn_mask']
        if mask is None:
            num_queries = queries['anchors'].shape[1]
            mask = torch.zeros(num_queries, num_queries, dtype=torch.bool, device=memory.device)
        return dict(
            queries,
            content=torch.cat([queries['content'], content], 1),
            anchors=torch.cat([queries['anchors'], anchors], 1),
            self_attn_mask=self.one_to_many.hide(mask),
            one_to_many=self.one_to_many)

    def matching_queries(self, batch_size: int) -> dict[str, Tensor]:
        """Learnt ``anchors`` before the sigmoid (B, M, 4) and their ``content`` (B, M, C)."""
        anchors = self.query_embedding.weight
        if self.random_refpoints_xy:
            anchors = torch.cat([anchors[:, :2].detach(), anchors[:, 2:]], 1)
        if self.learn_content:
            content = F.pad(self.tgt_embed.weight, (0, self.embed_dims - self.tgt_embed.embedding_dim))
        else:
            content = self._know_nothing(anchors.new_zeros(len(anchors), self.embed_dims))
        if self.num_patterns > 0:
            content = (content + self.patterns.weight[:, None]).flatten(0, 1)
            anchors = anchors.repeat(self.num_patterns, 1)
        return dict(content=content.expand(batch_size, -1, -1), anchors=anchors.expand(batch_size, -1, -1))

    def noised_queries(self, noised: DenoisingQueries) -> dict[str, Tensor]:
        """Denoising queries in the form of :meth:`matching_queries`: noised boxes are anchors."""
        return dict(content=noised.content, anchors=noised.anchors)

    def forward_decoder(self, content: Tensor, anchors: Tensor, self_attn_mask: Tensor | None, memory: Tensor,
                        memory_mask: Tensor | None, memory_pos: Tensor, levels: FeatureLevels) -> dict[str, Tensor]:
        """Hidden states (L, B, Q, C) and the boxes that layers start from (L, B, Q, 4)."""
        hidden_states, references = self.decoder(content, anchors, memory, memory_pos, self.bbox_head.box_branches,
                                                 levels, self_attn_mask, memory_mask)
        return dict(hidden_states=hidden_states, references=references)
