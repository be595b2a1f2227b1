"""mmdet's attention modules, parameter for parameter, computed by torch's scaled_dot_product_attention.

mmdet's modules write the attention of every head, (B, heads, Q, K), to memory and keep it for backward; the fused
kernels do not.
"""

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import MultiheadAttention as MMCVMultiheadAttention
from mmdet.models.layers.transformer.utils import ConditionalAttention as MMDetConditionalAttention
from torch import Tensor

from .feature_levels import FeatureLevels


def attend(query: Tensor,
           key: Tensor,
           value: Tensor,
           num_heads: int,
           attn_mask: Tensor | None = None,
           key_padding_mask: Tensor | None = None,
           dropout: float = 0.) -> Tensor:
    """Multi-head attention of tensors that are already projected.

    Args:
        query (Tensor): (B, Q, C).
        key (Tensor): (B, K, C).
        value (Tensor): (B, K, D); D may differ from C.
        num_heads (int): Number of heads; divides C and D.
        attn_mask (Tensor, optional): Bool, True where row i must not attend to column j, (Q, K).
        key_padding_mask (Tensor, optional): Bool, True where a key is padding, (B, K).
        dropout (float): Probability that an attention weight is dropped.

    Returns:
        Tensor: (B, Q, D).
    """
    allowed = None
    if attn_mask is not None:
        allowed = ~attn_mask
    if key_padding_mask is not None:
        present = ~key_padding_mask[:, None, None]
        allowed = present if allowed is None else allowed & present
    heads = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(*heads, attn_mask=allowed, dropout_p=dropout).transpose(1, 2).flatten(2)


class MultiheadAttention(MMCVMultiheadAttention):
    """mmcv's ``MultiheadAttention`` (with residual and dropout), batch first, through :func:`attend`."""

    def __init__(self, *args, dropout_layer: dict | None = None, **kwargs) -> None:
        # mmcv's default is one dict for all modules, and ``dropout=0.1`` of any mmdet model is written into it: every
        # module built after that would drop.
        super().__init__(*args, dropout_layer=dict(dropout_layer or dict(type='Dropout', drop_prob=0.)), **kwargs)

    def forward(self,
                query: Tensor,
                key: Tensor | None = None,
                value: Tensor | None = None,
                identity: Tensor | None = None,
                query_pos: Tensor | None = None,
                key_pos: Tensor | None = None,
                attn_mask: Tensor | None = None,
                key_padding_mask: Tensor | None = None,
                **kwargs) -> Tensor:
        """See mmcv; shapes are (B, Q, C) and (B, K, C), masks as in :func:`attend`. Returns (B, Q, C)."""
        self_attention = key is None or key is query
        key = query if key is None else key
        value = key if value is None else value
        identity = query if identity is None else identity
        q = query if query_pos is None else query + query_pos
        if self_attention and key_pos is query_pos:
            k = q
        else:
            k = key if key_pos is None else key + key_pos
        (w_q, w_k, w_v), (b_q, b_k, b_v) = self.attn.in_proj_weight.chunk(3), self.attn.in_proj_bias.chunk(3)
        out = attend(
            F.linear(q, w_q, b_q),
            F.linear(k, w_k, b_k),
            F.linear(value, w_v, b_v),
            self.num_heads,
            attn_mask,
            key_padding_mask,
            dropout=self.attn.dropout if self.training else 0.)
        return identity + self.dropout_layer(self.proj_drop(self.attn.out_proj(out)))


class ConditionalAttention(MMDetConditionalAttention):
    """mmdet's ``ConditionalAttention``: content and position have projections of their own, and in cross attention
    they are concatenated rather than added (Conditional DETR, section 3.2), through :func:`attend`."""

    def forward_attn(self,
                     query: Tensor,
                     key: Tensor,
                     value: Tensor,
                     attn_mask: Tensor | None = None,
                     key_padding_mask: Tensor | None = None):
        """Attention of projected tensors, masks as in :func:`attend`: the output and, instead of weights, None."""
        dropout = self.attn_drop.p if self.training else 0.
        return self.out_proj(attend(query, key, value, self.num_heads, attn_mask, key_padding_mask, dropout)), None


class LevelAttention(ConditionalAttention):
    """Conditional cross attention to each feature level by itself; each query weighs what it read from the levels.

    The levels share all projections (DAB-DETR's deformable-encoder-only model).
    """

    def forward(self,
                query: Tensor,
                key: Tensor,
                level_weights: Tensor,
                levels: FeatureLevels,
                query_pos: Tensor,
                ref_sine_embed: Tensor,
                key_pos: Tensor,
                key_padding_mask: Tensor | None = None,
                is_first: bool = False) -> Tensor:
        """See mmdet's ``ConditionalAttention``; the keys are the tokens of ``levels``.

        Args:
            level_weights (Tensor): Share of each level, (B, Q, L).

        Returns:
            Tensor: (B, Q, C), the query added.
        """
        q, k, k_pos = self.qcontent_proj(query), self.kcontent_proj(key), self.kpos_proj(key_pos)
        if is_first or self.keep_query_pos:
            q, k = q + self.qpos_proj(query_pos), k + k_pos
        q = self._by_head(q, self.qpos_sine_proj(ref_sine_embed))
        keys, values = levels.split(self._by_head(k, k_pos)), levels.split(self.v_proj(key))
        masks = [None] * len(keys) if key_padding_mask is None else levels.split(key_padding_mask)
        # Shares add up to one, so projecting the mixture is projecting each level.
        mixed = sum(weight * self._read(q, *level)
                    for weight, *level in zip(level_weights.split(1, -1), keys, values, masks))
        return query + self.proj_drop(self.out_proj(mixed))

    def _by_head(self, content: Tensor, position: Tensor) -> Tensor:
        """(B, N, C) twice -> (B, N, 2C), in which each head has its part of both."""
        return torch.cat([x.unflatten(-1, (self.num_heads, -1)) for x in (content, position)], -1).flatten(2)

    def _read(self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None) -> Tensor:
        dropout = self.attn_drop.p if self.training else 0.
        return attend(query, key, value, self.num_heads, key_padding_mask=key_padding_mask, dropout=dropout)
