"""Conditional DETR's decoder (arXiv 2108.06152): each query attends near its own reference point."""

import torch
from mmdet.models.layers.transformer import (
    ConditionalDetrTransformerDecoder,
    coordinate_to_encoding,
)
from mmengine.model import ModuleList
from torch import Tensor

from ...registry import MODELS
from .dab_layers import DABDecoderLayer
from .detr_layers import XavierInit


@MODELS.register_module()
class ConditionalDecoder(XavierInit, ConditionalDetrTransformerDecoder):
    """mmdet's Conditional DETR decoder with the fused attention; its layers are those of DAB-DETR.

    ``ref_point_head`` belongs to it, but the detector calls it: the detector decides the reference points.
    """

    def _init_layers(self) -> None:
        super()._init_layers()
        self.layers = ModuleList(
            [DABDecoderLayer(**self.layer_cfg) for _ in range(self.num_layers)]
        )
        for layer in self.layers[1:]:
            layer.cross_attn.qpos_proj = None

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        points: Tensor,
        memory: Tensor,
        memory_pos: Tensor,
        self_attn_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """Decode queries with reference points.

        Args:
            query (Tensor): Content queries, (B, Q, C).
            query_pos (Tensor): Their learned positions, for self attention and the first cross attention, (B, Q, C).
            points (Tensor): Reference points (x, y) before the sigmoid, (B, Q, 2).
            memory (Tensor): Encoded image, (B, S, C).
            memory_pos (Tensor): Its positional encoding, (B, S, C).
            self_attn_mask (Tensor, optional): True where query i must not see query j, (Q, Q).
            memory_mask (Tensor, optional): True where memory is padding, (B, S).

        Returns:
            Tensor: Normalised states of all layers, (L, B, Q, C).
        """
        encoding = coordinate_to_encoding(points.sigmoid(), self.embed_dims // 2)
        states = []
        for index, layer in enumerate(self.layers):
            scaled = encoding if index == 0 else encoding * self.query_scale(query)
            query = layer(
                query,
                memory,
                query_pos=query_pos,
                key_pos=memory_pos,
                ref_sine_embed=scaled,
                self_attn_masks=self_attn_mask,
                key_padding_mask=memory_mask,
                is_first=index == 0,
            )
            states.append(self.post_norm(query))
        return torch.stack(states)
