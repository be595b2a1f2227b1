"""DN-DETR: DAB-DETR whose training is helped by denoising; without denoising it is DAB-DETR."""

import torch
from mmdet.models.layers import SinePositionalEncoding
from mmdet.utils import OptConfigType
from torch import Tensor, nn

from ...registry import MODELS
from ..denoising import Denoising
from ..ground_truths import GroundTruths
from ..layers import DABDecoder, DABEncoder, inverse_sigmoid
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
        denoising (dict, optional): Arguments of :class:`Denoising` other than ``num_classes`` and ``embed_dims``.
            None: no denoising, and content queries of zeros as in DAB-DETR.
        num_patterns (int): Patterns, i.e. learnt contents, that each anchor is tried with; 0 for none. Multiplies the
            number of queries (Anchor DETR, section 3.3).
        random_refpoints_xy (bool): Anchor centres are drawn evenly over the image and stay fixed.
    """

    def __init__(self,
                 *args,
                 denoising: OptConfigType = None,
                 num_patterns: int = 0,
                 random_refpoints_xy: bool = False,
                 **kwargs) -> None:
        self.num_patterns = num_patterns
        self.random_refpoints_xy = random_refpoints_xy
        super().__init__(*args, **kwargs)
        self.denoising = None
        if denoising is not None:
            self.denoising = Denoising(self.bbox_head.num_classes, self.embed_dims, **denoising)

    def _init_layers(self) -> None:
        self.positional_encoding = SinePositionalEncoding(**self.positional_encoding)
        self.encoder = DABEncoder(**self.encoder)
        self.decoder = DABDecoder(**self.decoder)
        self.embed_dims = self.encoder.embed_dims
        self.query_embedding = nn.Embedding(self.num_queries, 4)
        if self.num_patterns > 0:
            self.patterns = nn.Embedding(self.num_patterns, self.embed_dims)

    def init_weights(self) -> None:
        """As DETR; with ``random_refpoints_xy`` the centres are spread over the image and take no gradient."""
        super().init_weights()
        if self.random_refpoints_xy:
            centres = self.query_embedding.weight.data[:, :2]
            centres.copy_(inverse_sigmoid(torch.rand_like(centres)))

    def pre_decoder(self, memory: Tensor, gts: GroundTruths | None = None) -> dict[str, Tensor]:
        """Matching queries, behind denoising queries while training.

        Returns:
            dict: ``content`` (B, N + M, C), ``anchors`` before the sigmoid (B, N + M, 4), ``self_attn_mask``
            (N + M, N + M) or None and ``denoising``, the :class:`DenoisingQueries`, or None.
        """
        anchors = self.query_embedding.weight
        if self.random_refpoints_xy:
            anchors = torch.cat([anchors[:, :2].detach(), anchors[:, 2:]], 1)
        content = anchors.new_zeros(len(anchors), self.embed_dims)
        if self.denoising is not None:
            content = content + self.denoising.matching_content()
        if self.num_patterns > 0:
            content = (content + self.patterns.weight[:, None]).flatten(0, 1)
            anchors = anchors.repeat(self.num_patterns, 1)
        content, anchors = (x.expand(len(memory), -1, -1) for x in (content, anchors))
        if self.denoising is None or gts is None or not self.training:
            return dict(content=content, anchors=anchors, self_attn_mask=None, denoising=None)
        noised = self.denoising(gts)
        return dict(
            content=torch.cat([noised.content, content], 1),
            anchors=torch.cat([noised.anchors, anchors], 1),
            self_attn_mask=noised.attention_mask(anchors.shape[1]),
            denoising=noised)

    def forward_decoder(self, content: Tensor, anchors: Tensor, self_attn_mask: Tensor | None, denoising,
                        memory: Tensor, memory_mask: Tensor | None, memory_pos: Tensor) -> dict:
        """Hidden states (L, B, Q, C), the boxes that layers start from (L, B, Q, 4) and, in training, ``denoising``."""
        hidden_states, references = self.decoder(content, anchors, memory, memory_pos, self.bbox_head.fc_reg,
                                                 self_attn_mask, memory_mask)
        states = dict(hidden_states=hidden_states, references=references)
        return states if denoising is None else dict(states, denoising=denoising)
