"""DETR's encoder and decoder (DETR, appendix A.3): mmdet's, with the attention of :mod:`.attention`."""

from mmcv.cnn import build_norm_layer
from mmdet.models.layers.transformer import (
    DetrTransformerDecoder,
    DetrTransformerDecoderLayer,
    DetrTransformerEncoder,
    DetrTransformerEncoderLayer,
)
from mmengine.model import ModuleList
from torch import Tensor, nn

from ...registry import MODELS
from .attention import MultiheadAttention
from .feature_levels import FeatureLevels


class XavierInit:
    """Initialise every matrix of a module by Xavier's rule, as the authors of DETR do with encoder and decoder."""

    def init_weights(self) -> None:
        """Initialise by ``init_cfg``, then by Xavier's rule."""
        super().init_weights()
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)


class EncoderLayer(DetrTransformerEncoderLayer):
    """mmdet's DETR encoder layer with the fused attention."""

    def _init_layers(self) -> None:
        super()._init_layers()
        self.self_attn = MultiheadAttention(**self.self_attn_cfg)


class DecoderLayer(DetrTransformerDecoderLayer):
    """mmdet's DETR decoder layer with the fused attention."""

    def _init_layers(self) -> None:
        super()._init_layers()
        self.self_attn = MultiheadAttention(**self.self_attn_cfg)
        self.cross_attn = MultiheadAttention(**self.cross_attn_cfg)


@MODELS.register_module()
class DETREncoder(XavierInit, DetrTransformerEncoder):
    """mmdet's DETR encoder of :class:`EncoderLayer`."""

    def _init_layers(self) -> None:
        self.layers = ModuleList([EncoderLayer(**self.layer_cfg) for _ in range(self.num_layers)])
        self.embed_dims = self.layers[0].embed_dims

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        key_padding_mask: Tensor | None,
        levels: FeatureLevels | None = None,
    ) -> Tensor:
        """Encode image tokens.

        Args:
            query (Tensor): Tokens, (B, S, C).
            query_pos (Tensor): Their positional encoding, (B, S, C).
            key_padding_mask (Tensor, optional): True where a token is padding, (B, S).
            levels (FeatureLevels, optional): Not used: every token sees all others.

        Returns:
            Tensor: (B, S, C).
        """
        for layer in self.layers:
            query = layer(query, query_pos, key_padding_mask)
        return query


@MODELS.register_module()
class DETRDecoder(XavierInit, DetrTransformerDecoder):
    """mmdet's DETR decoder of :class:`DecoderLayer`; returns the normalised states of all layers, (L, B, Q, C)."""

    def _init_layers(self) -> None:
        self.layers = ModuleList([DecoderLayer(**self.layer_cfg) for _ in range(self.num_layers)])
        self.embed_dims = self.layers[0].embed_dims
        self.post_norm = build_norm_layer(self.post_norm_cfg, self.embed_dims)[1]
