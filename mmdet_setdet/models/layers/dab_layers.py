"""DAB-DETR's encoder and decoder: queries are anchor boxes that every layer refines (DAB-DETR, section 4)."""

import math
from collections.abc import Iterable

import torch
from mmdet.models.layers.transformer import (
    MLP,
    DABDetrTransformerDecoder,
    coordinate_to_encoding,
    inverse_sigmoid,
)
from mmdet.models.layers.transformer.dab_detr_layers import DABDetrTransformerDecoderLayer
from mmengine.model import ModuleList
from torch import Tensor, nn

from ...registry import MODELS
from .attention import ConditionalAttention, LevelAttention
from .detr_layers import DETREncoder, XavierInit
from .feature_levels import FeatureLevels

# A width or height as a share of the image.
SMALLEST_SIDE = 1e-4


class DABDecoderLayer(DABDetrTransformerDecoderLayer):
    """mmdet's DAB-DETR decoder layer with the fused attention."""

    def _init_layers(self) -> None:
        super()._init_layers()
        self.self_attn = ConditionalAttention(**self.self_attn_cfg)
        self.cross_attn = ConditionalAttention(**self.cross_attn_cfg)


class LevelDABDecoderLayer(DABDecoderLayer):
    """DAB-DETR's decoder layer on several feature levels: cross attention is :class:`LevelAttention`.

    Args:
        num_levels (int): Number of feature levels L.
        **kwargs: As mmdet's ``DABDetrTransformerDecoderLayer``.
    """

    def __init__(self, num_levels: int, **kwargs) -> None:
        self.num_levels = num_levels
        super().__init__(**kwargs)

    def _init_layers(self) -> None:
        super()._init_layers()
        self.cross_attn = LevelAttention(**self.cross_attn_cfg)
        self.lvl_attn = nn.Linear(self.embed_dims, self.num_levels)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        query_pos: Tensor,
        self_attn_masks: Tensor | None,
        **kwargs,
    ) -> Tensor:
        """See mmdet's layer and :meth:`LevelAttention.forward`."""
        # The authors weigh the levels by the projected query of the self attention, before it. Projecting it twice
        # costs little: there are far fewer queries than keys.
        projected = self.self_attn.qcontent_proj(query) + self.self_attn.qpos_proj(query_pos)
        level_weights = self.lvl_attn(projected).softmax(-1)

        query = self.self_attn(
            query, query, query_pos, key_pos=query_pos, attn_mask=self_attn_masks
        )
        query = self.norms[0](query)
        query = self.cross_attn(query, key, level_weights, query_pos=query_pos, **kwargs)
        query = self.norms[1](query)
        return self.norms[2](self.ffn(query))


@torch.no_grad()
def init_to_identity(scale: MLP) -> None:
    """Initialise a perceptron whose output multiplies something so that it multiplies by 1 at first."""
    nn.init.zeros_(scale.layers[-1].weight)
    nn.init.ones_(scale.layers[-1].bias)


@MODELS.register_module()
class DABEncoder(DETREncoder):
    """DETR's encoder whose positional encoding is scaled by the content, ``query_scale``, before each layer.

    Args:
        unit_scale (bool): Whether that scale starts at 1 instead of at random, for training from scratch.
        **kwargs: As mmdet's ``DetrTransformerEncoder``.
    """

    def __init__(self, *args, unit_scale: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.unit_scale = unit_scale

    def init_weights(self) -> None:
        """Initialise every matrix by Xavier's rule, then apply ``unit_scale``."""
        super().init_weights()
        if self.unit_scale:
            init_to_identity(self.query_scale)

    def _init_layers(self) -> None:
        super()._init_layers()
        self.query_scale = MLP(self.embed_dims, self.embed_dims, self.embed_dims, 2)

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        key_padding_mask: Tensor | None,
        levels: FeatureLevels | None = None,
    ) -> Tensor:
        """See :meth:`DETREncoder.forward`."""
        for layer in self.layers:
            scaled_pos = query_pos * self.query_scale(query)
            query = layer(query, scaled_pos, key_padding_mask)
        return query


@MODELS.register_module()
class DABDecoder(XavierInit, DABDetrTransformerDecoder):
    """DAB-DETR's decoder with modulated attention and iterative refinement.

    Args:
        eps (float): Boxes are kept this far from 0 and 1 before the inverse sigmoid: 1e-3 in the authors' code,
            1e-5 in mmdet's decoder.
        temperature (float): Of the sine encoding of anchors: its lowest frequency is ``scale / temperature``.
        scale (float): Its highest frequency, as the phase between the two sides of an image. The encoding of memory is
            the detector's ``positional_encoding``.
        local_init (bool): Whether cross attention starts near its anchor instead of anywhere: position projections of
            queries and keys start equal, and their product is then largest where the positions agree. Speeds up
            training from scratch. Requires ``temperature`` and ``scale`` equal to those of ``positional_encoding``.
        num_levels (int): Feature levels that memory consists of. With more than one the layers are
            :class:`LevelDABDecoderLayer`.
        **kwargs: As mmdet's ``DABDetrTransformerDecoder``: ``num_layers``, ``layer_cfg``, ``query_scale_type``,
            ``with_modulated_hw_attn`` (width and height modulate the attention, DAB-DETR equation 6).
    """

    def __init__(
        self,
        *args,
        eps: float = 1e-3,
        temperature: float = 10000,
        scale: float = 2 * math.pi,
        local_init: bool = False,
        num_levels: int = 1,
        **kwargs,
    ) -> None:
        self.num_levels = num_levels
        super().__init__(*args, **kwargs)
        self.eps = eps
        self.temperature = temperature
        self.scale = scale
        self.local_init = local_init

    def _init_layers(self) -> None:
        super()._init_layers()
        self.layers = ModuleList([self._layer() for _ in range(self.num_layers)])
        if not self.keep_query_pos:
            for layer in self.layers[1:]:
                layer.cross_attn.qpos_proj = None

    def _layer(self) -> DABDecoderLayer:
        if self.num_levels == 1:
            return DABDecoderLayer(**self.layer_cfg)
        return LevelDABDecoderLayer(self.num_levels, **self.layer_cfg)

    def init_weights(self) -> None:
        """Initialise every matrix by Xavier's rule, then apply ``local_init``."""
        super().init_weights()
        if self.local_init:
            init_to_identity(self.query_scale)
            for layer in self.layers:
                attention = layer.cross_attn
                attention.qpos_sine_proj.load_state_dict(attention.kpos_proj.state_dict())

    def forward(
        self,
        query: Tensor,
        anchors: Tensor,
        memory: Tensor,
        memory_pos: Tensor,
        box_branches: Iterable[nn.Module],
        levels: FeatureLevels | None = None,
        self_attn_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode anchor boxes.

        Args:
            query (Tensor): Content of the queries, (B, Q, C).
            anchors (Tensor): Anchor boxes (cx, cy, w, h) before the sigmoid, (B, Q, 4).
            memory (Tensor): Encoded image, (B, S, C).
            memory_pos (Tensor): Its positional encoding, (B, S, C).
            box_branches (Iterable[nn.Module]): One per layer: maps a query to the change of its box, before the
                sigmoid.
            levels (FeatureLevels, optional): The feature maps that memory comes from, needed if there are several.
            self_attn_mask (Tensor, optional): True where query i must not see query j, (Q, Q).
            memory_mask (Tensor, optional): True where memory is padding, (B, S).

        Returns:
            tuple[Tensor, Tensor]: Normalised states (L, B, Q, C), and the box in [0, 1] that each layer starts from
            (L, B, Q, 4). The gradient of a layer's box loss reaches the layer before through the latter, as in the
            authors' code; what a layer *computes with* is detached.
        """
        reference = anchors.sigmoid()
        references, states = [reference], []
        level_inputs = dict(levels=levels) if self.num_levels > 1 else {}
        for index, (layer, box_branch) in enumerate(zip(self.layers, box_branches)):
            encoding = coordinate_to_encoding(
                reference, self.embed_dims // 2, self.temperature, self.scale
            )
            centre_encoding = encoding[..., : self.embed_dims]
            query = layer(
                query,
                memory,
                query_pos=self.ref_point_head(encoding),
                key_pos=memory_pos,
                ref_sine_embed=self._modulate(centre_encoding, query, reference, index),
                self_attn_masks=self_attn_mask,
                key_padding_mask=memory_mask,
                is_first=index == 0,
                **level_inputs,
            )
            states.append(self.post_norm(query))
            if index + 1 < self.num_layers:
                change = box_branch(query)
                refined = (change + inverse_sigmoid(reference, self.eps)).sigmoid()
                references.append(refined)
                reference = refined.detach()
        return torch.stack(states), torch.stack(references)

    def _modulate(self, encoding: Tensor, query: Tensor, reference: Tensor, index: int) -> Tensor:
        """Scale the sine encoding (B, Q, C) of centres, y half first, by content and by the box's own size."""
        if self.query_scale_type == 'fix_elewise':
            encoding = encoding * self.query_scale.weight[index]
        elif index > 0:
            encoding = encoding * self.query_scale(query)
        if self.with_modulated_hw_attn:
            # No box is a ten-thousandth of an image; without the limit, its inverse would overflow in float16.
            size = reference[..., 2:].clamp(min=SMALLEST_SIDE)  # (w, h)
            size_ratio = self.ref_anchor_head(query).sigmoid() / size
            height_first = size_ratio.flip(-1)[..., None]
            halves = encoding.unflatten(-1, (2, -1))
            encoding = (halves * height_first).flatten(-2)
        return encoding
