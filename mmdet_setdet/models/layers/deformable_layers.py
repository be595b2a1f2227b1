"""Deformable DETR's encoder and decoder (arXiv 2010.04159), and DAB-DETR's decoder with deformable attention."""

import math
from collections.abc import Iterable

import torch
from mmdet.models.layers.transformer import (
    MLP,
    DeformableDetrTransformerDecoder,
    DeformableDetrTransformerDecoderLayer,
    DeformableDetrTransformerEncoder,
    DeformableDetrTransformerEncoderLayer,
    coordinate_to_encoding,
    inverse_sigmoid,
)
from mmengine.model import ModuleList
from torch import Tensor, nn

from ...registry import MODELS
from .attention import MultiheadAttention
from .deformable_attention import DeformableAttention
from .detr_layers import XavierInit
from .feature_levels import FeatureLevels


class DeformableInit(XavierInit):
    """Xavier's rule, but the sampling points of deformable attention start as a star around their reference point."""

    def init_weights(self) -> None:
        """Initialise as in Deformable DETR, appendix A.4."""
        super().init_weights()
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.init_weights()


class DeformableEncoderLayer(DeformableDetrTransformerEncoderLayer):
    """mmdet's Deformable DETR encoder layer with our deformable attention."""

    def _init_layers(self) -> None:
        super()._init_layers()
        self.self_attn = DeformableAttention(**self.self_attn_cfg)


class DeformableDecoderLayer(DeformableDetrTransformerDecoderLayer):
    """mmdet's Deformable DETR decoder layer with the fused attention and our deformable attention."""

    def _init_layers(self) -> None:
        super()._init_layers()
        self.self_attn = MultiheadAttention(**self.self_attn_cfg)
        self.cross_attn = DeformableAttention(**self.cross_attn_cfg)


@MODELS.register_module()
class DeformableEncoder(DeformableInit, DeformableDetrTransformerEncoder):
    """mmdet's Deformable DETR encoder of :class:`DeformableEncoderLayer`: tokens sample a few points of each level."""

    def _init_layers(self) -> None:
        self.layers = ModuleList(
            [DeformableEncoderLayer(**self.layer_cfg) for _ in range(self.num_layers)]
        )
        self.embed_dims = self.layers[0].embed_dims

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        key_padding_mask: Tensor | None,
        levels: FeatureLevels,
    ) -> Tensor:
        """Encode image tokens.

        Args:
            query (Tensor): Tokens of all levels, (B, S, C).
            query_pos (Tensor): Their positional encoding, (B, S, C).
            key_padding_mask (Tensor, optional): True where a token is padding, (B, S).
            levels (FeatureLevels): The feature maps that the tokens come from.

        Returns:
            Tensor: (B, S, C).
        """
        points = levels.reference_points()
        for layer in self.layers:
            query = layer(
                query,
                query_pos,
                key_padding_mask,
                reference_points=points,
                spatial_shapes=levels.shapes,
            )
        return query


@MODELS.register_module()
class DeformableDecoder(DeformableInit, DeformableDetrTransformerDecoder):
    """mmdet's Deformable DETR decoder of :class:`DeformableDecoderLayer`; given ``reg_branches`` it refines boxes."""

    def __init__(self, *args, post_norm_cfg: None = None, **kwargs) -> None:
        super().__init__(*args, post_norm_cfg=post_norm_cfg, **kwargs)

    def _init_layers(self) -> None:
        self.layers = ModuleList(
            [DeformableDecoderLayer(**self.layer_cfg) for _ in range(self.num_layers)]
        )
        self.embed_dims = self.layers[0].embed_dims


@MODELS.register_module()
class DeformableDABDecoder(DeformableDecoder):
    """DAB-Deformable-DETR's decoder: queries are anchor boxes, which deformable attention samples.

    Args:
        eps (float): Boxes are kept this far from 0 and 1 before the inverse sigmoid.
        temperature (float): Of the sine encoding of anchors: its lowest frequency is ``scale / temperature``.
        scale (float): Its highest frequency, as the phase between the two sides of an image.
        **kwargs: As mmdet's ``DeformableDetrTransformerDecoder``: ``num_layers``, ``layer_cfg``.
    """

    def __init__(
        self,
        *args,
        eps: float = 1e-3,
        temperature: float = 10000,
        scale: float = 2 * math.pi,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.eps = eps
        self.temperature = temperature
        self.scale = scale

    def _init_layers(self) -> None:
        super()._init_layers()
        self.ref_point_head = MLP(2 * self.embed_dims, self.embed_dims, self.embed_dims, 2)
        self.query_scale = MLP(self.embed_dims, self.embed_dims, self.embed_dims, 2)

    def forward(
        self,
        query: Tensor,
        anchors: Tensor,
        memory: Tensor,
        memory_pos: Tensor,
        box_branches: Iterable[nn.Module],
        levels: FeatureLevels,
        self_attn_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode anchor boxes as :meth:`DABDecoder.forward`, with two differences.

        States are not normalised, and the box that a layer starts from passes no gradient to the layer before: both as
        in the authors' code. ``memory_pos`` is not used: anchors tell the position.
        """
        reference = anchors.sigmoid()
        references, states = [], []
        ratios = levels.valid_ratios.repeat(1, 1, 2)[:, None]
        for index, (layer, box_branch) in enumerate(zip(self.layers, box_branches)):
            references.append(reference)
            boxes = reference[:, :, None] * ratios  # as shares of each padded level, (B, Q, L, 4)
            encoding = coordinate_to_encoding(
                boxes[:, :, 0], self.embed_dims // 2, self.temperature, self.scale
            )
            query_pos = self.ref_point_head(encoding)
            if index > 0:
                query_pos = query_pos * self.query_scale(query)
            query = layer(
                query,
                value=memory,
                query_pos=query_pos,
                self_attn_mask=self_attn_mask,
                key_padding_mask=memory_mask,
                reference_points=boxes,
                spatial_shapes=levels.shapes,
            )
            states.append(query)
            with torch.no_grad():
                change = box_branch(query)
                reference = (change + inverse_sigmoid(reference, self.eps)).sigmoid()
        return torch.stack(states), torch.stack(references)
