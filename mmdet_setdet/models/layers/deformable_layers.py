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
    """mmdet's Deformable DETR decoder of :class:`DeformableDecoderLayer`.

    Args:
        eps (float): Boxes are kept this far from 0 and 1 before the inverse sigmoid.
        look_forward_twice (bool): Whether a layer's box loss reaches the box of the layer before, from which its own
            starts (DINO, section 3.5). What a layer *computes with* is detached either way.
        **kwargs: As mmdet's ``DeformableDetrTransformerDecoder``: ``num_layers``, ``layer_cfg``.
    """

    def __init__(
        self,
        *args,
        eps: float = 1e-5,
        look_forward_twice: bool = False,
        post_norm_cfg: None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, post_norm_cfg=post_norm_cfg, **kwargs)
        self.eps = eps
        self.look_forward_twice = look_forward_twice

    def _init_layers(self) -> None:
        self.layers = ModuleList(
            [DeformableDecoderLayer(**self.layer_cfg) for _ in range(self.num_layers)]
        )
        self.embed_dims = self.layers[0].embed_dims

    def forward(
        self,
        query: Tensor,
        references: Tensor,
        memory: Tensor,
        levels: FeatureLevels,
        query_pos: Tensor | None = None,
        box_branches: Iterable[nn.Module] | None = None,
        self_attn_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode queries.

        Args:
            query (Tensor): Content of the queries, (B, Q, C).
            references (Tensor): Where they look: points (x, y) or boxes (cx, cy, w, h) before the sigmoid,
                (B, Q, 2 or 4).
            memory (Tensor): Encoded image, (B, S, C).
            levels (FeatureLevels): The feature maps that memory comes from.
            query_pos (Tensor, optional): Position of the queries, (B, Q, C); here it is needed.
            box_branches (Iterable[nn.Module], optional): One per layer: maps a query to the change of its box, before
                the sigmoid. Without them all layers start from the same references.
            self_attn_mask (Tensor, optional): True where query i must not see query j, (Q, Q).
            memory_mask (Tensor, optional): True where memory is padding, (B, S).

        Returns:
            tuple[Tensor, Tensor]: States (L, B, Q, C), and what each layer starts from in [0, 1]: boxes (L, B, Q, 4),
            or without ``box_branches`` the references, (1, B, Q, 2 or 4).
        """
        reference = references.sigmoid()
        if box_branches is None:
            box_branches = [None] * self.num_layers
            starts = [reference]
        else:
            # A point has no sides to start from; 0.5 is 0 before the sigmoid.
            missing = 4 - reference.shape[-1]
            starts = [nn.functional.pad(reference, (0, missing), value=0.5)]
        states = []
        for index, (layer, box_branch) in enumerate(zip(self.layers, box_branches)):
            on_levels = levels.on_levels(reference)
            query = layer(
                query,
                value=memory,
                query_pos=self.position(index, query, on_levels, query_pos),
                self_attn_mask=self_attn_mask,
                key_padding_mask=memory_mask,
                reference_points=on_levels,
                spatial_shapes=levels.shapes,
            )
            states.append(self.normalise(query))
            if box_branch is not None and index + 1 < self.num_layers:
                start = reference if index > 0 else starts[0]
                refined = self._refine(start, query, box_branch)
                starts.append(refined)
                reference = refined.detach()
        return torch.stack(states), torch.stack(starts)

    def _refine(self, start: Tensor, query: Tensor, box_branch: nn.Module) -> Tensor:
        """Move boxes in [0, 1] by what is predicted from their queries; with a gradient for ``look_forward_twice``."""
        with torch.set_grad_enabled(self.look_forward_twice and torch.is_grad_enabled()):
            change = box_branch(query)
            return (change + inverse_sigmoid(start, self.eps)).sigmoid()

    def position(
        self, index: int, query: Tensor, on_levels: Tensor, query_pos: Tensor | None
    ) -> Tensor:
        """The position (B, Q, C) of queries in layer ``index``, whose references are (B, Q, L, .): here the same."""
        return query_pos

    def normalise(self, query: Tensor) -> Tensor:
        """The states that the head reads: here the queries as they are."""
        return query


@MODELS.register_module()
class DeformableDABDecoder(DeformableDecoder):
    """DAB-Deformable-DETR's decoder: queries are anchor boxes, which deformable attention samples.

    Args:
        eps (float): Boxes are kept this far from 0 and 1 before the inverse sigmoid.
        temperature (float): Of the sine encoding of anchors: its lowest frequency is ``scale / temperature``.
        scale (float): Its highest frequency, as the phase between the two sides of an image.
        num_feats (int, optional): Numbers that encode one coordinate, by default half the size of a query.
        **kwargs: As :class:`DeformableDecoder`.
    """

    def __init__(
        self,
        *args,
        eps: float = 1e-3,
        temperature: float = 10000,
        scale: float = 2 * math.pi,
        num_feats: int | None = None,
        **kwargs,
    ) -> None:
        self.num_feats = num_feats
        super().__init__(*args, eps=eps, **kwargs)
        self.temperature = temperature
        self.scale = scale

    def _init_layers(self) -> None:
        super()._init_layers()
        self.num_feats = self.num_feats or self.embed_dims // 2
        self.ref_point_head = MLP(4 * self.num_feats, self.embed_dims, self.embed_dims, 2)
        self.query_scale = self._query_scale()

    def _query_scale(self) -> nn.Module | None:
        return MLP(self.embed_dims, self.embed_dims, self.embed_dims, 2)

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

        States are not normalised, and without ``look_forward_twice`` the box that a layer starts from passes no
        gradient to the layer before: both as in the authors' code. ``memory_pos`` is not used: anchors tell the
        position.
        """
        return super().forward(
            query,
            anchors,
            memory,
            levels,
            box_branches=box_branches,
            self_attn_mask=self_attn_mask,
            memory_mask=memory_mask,
        )

    def position(
        self, index: int, query: Tensor, on_levels: Tensor, query_pos: None = None
    ) -> Tensor:
        """The position of anchors: learned from their boxes on the first level, scaled by the content but at first."""
        encoding = coordinate_to_encoding(
            on_levels[:, :, 0], self.num_feats, self.temperature, self.scale
        )
        position = self.ref_point_head(encoding)
        if self.query_scale is None or index == 0:
            return position
        return position * self.query_scale(query)


@MODELS.register_module()
class DINODecoder(DeformableDABDecoder):
    """DINO's decoder (arXiv 2203.03605): positions are not scaled, states are normalised, boxes look forward twice.

    Parameters have the names of mmdet's ``DinoTransformerDecoder``.

    Args:
        num_feats (int, optional): As :class:`DeformableDABDecoder`. The default is the authors', mmdet 3.3's and that
            of the published checkpoints; mmdet 3.5 takes the whole size of a query.
        **kwargs: As :class:`DeformableDABDecoder`.
    """

    def __init__(self, *args, look_forward_twice: bool = True, **kwargs) -> None:
        super().__init__(*args, look_forward_twice=look_forward_twice, **kwargs)

    def _init_layers(self) -> None:
        super()._init_layers()
        self.norm = nn.LayerNorm(self.embed_dims)

    def _query_scale(self) -> None:
        return None

    def normalise(self, query: Tensor) -> Tensor:
        """The states that the head reads: normalised."""
        return self.norm(query)
