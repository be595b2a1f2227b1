"""Anchor DETR's encoder and decoder (arXiv 2109.07107): DETR's, with row-column attention to the image."""

import torch
from mmdet.models.layers.transformer import (
    DetrTransformerDecoder,
    DetrTransformerEncoder,
    DetrTransformerEncoderLayer,
)
from mmengine.model import ModuleList
from torch import Tensor

from ...registry import MODELS
from .detr_layers import DecoderLayer
from .feature_levels import FeatureLevels
from .row_column_attention import RowColumnAttention


class AnchorEncoderLayer(DetrTransformerEncoderLayer):
    """mmdet's DETR encoder layer with row-column attention."""

    def _init_layers(self) -> None:
        super()._init_layers()
        self.self_attn = RowColumnAttention(**self.self_attn_cfg)


class AnchorDecoderLayer(DecoderLayer):
    """DETR's decoder layer whose cross attention is row-column attention."""

    def _init_layers(self) -> None:
        super()._init_layers()
        self.cross_attn = RowColumnAttention(**self.cross_attn_cfg)

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        axis_pos: Tensor,
        memory: Tensor,
        memory_pos: Tensor,
        self_attn_mask: Tensor | None,
        memory_mask: Tensor | None,
        levels: FeatureLevels,
    ) -> Tensor:
        """See :meth:`AnchorDecoder.forward`; (B, Q, C) -> (B, Q, C)."""
        query = self.self_attn(
            query, query_pos=query_pos, key_pos=query_pos, attn_mask=self_attn_mask
        )
        query = self.norms[0](query)
        query = self.cross_attn(
            query,
            memory,
            query_pos=axis_pos,
            key_pos=memory_pos,
            levels=levels,
            key_padding_mask=memory_mask,
        )
        query = self.norms[1](query)
        return self.norms[2](self.ffn(query))


@MODELS.register_module()
class AnchorEncoder(DetrTransformerEncoder):
    """mmdet's DETR encoder of :class:`AnchorEncoderLayer`; positions have two parts, y and x, (B, S, 2C)."""

    def _init_layers(self) -> None:
        self.layers = ModuleList(
            [AnchorEncoderLayer(**self.layer_cfg) for _ in range(self.num_layers)]
        )
        self.embed_dims = self.layers[0].embed_dims


@MODELS.register_module()
class AnchorDecoder(DetrTransformerDecoder):
    """mmdet's DETR decoder of :class:`AnchorDecoderLayer`, without the norm behind the last layer."""

    def _init_layers(self) -> None:
        self.layers = ModuleList(
            [AnchorDecoderLayer(**self.layer_cfg) for _ in range(self.num_layers)]
        )
        self.embed_dims = self.layers[0].embed_dims

    def forward(self, query: Tensor, **kwargs) -> Tensor:
        """Decode queries that are anchor points.

        Args:
            query (Tensor): Content queries, (B, Q, C).
            query_pos (Tensor): Positions of the points, for self attention, (B, Q, C).
            axis_pos (Tensor): Their two coordinates apart, y and x, for cross attention, (B, Q, 2C).
            memory (Tensor): Encoded image, (B, S, C).
            memory_pos (Tensor): Positions of its tokens, y and x, (B, S, 2C).
            self_attn_mask (Tensor, optional): True where query i must not see query j, (Q, Q).
            memory_mask (Tensor, optional): True where memory is padding, (B, S).
            levels (FeatureLevels): Height and width of the map.

        Returns:
            Tensor: States of all layers, (L, B, Q, C).
        """
        states = []
        for layer in self.layers:
            query = layer(query, **kwargs)
            states.append(query)
        return torch.stack(states)
