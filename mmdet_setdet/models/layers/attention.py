"""mmdet's attention modules, parameter for parameter, computed by :func:`.fast.attention`.

mmdet's modules write the attention of every head, (B, heads, Q, K), to memory and keep it for backward. Here that is
done only where it is fast, for few queries and keys on a CPU; torch's fused kernels do not need it.
"""

import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention as MMCVMultiheadAttention
from mmdet.models.layers.transformer.utils import ConditionalAttention as MMDetConditionalAttention
from torch import Tensor

from .fast import attention, linear
from .feature_levels import FeatureLevels
from .recording import record


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    attn_mask: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Compute multi-head attention of tensors that are already projected.

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
        is_key = ~key_padding_mask[:, None, None]
        allowed = is_key if allowed is None else allowed & is_key
    query, key, value = (_split_heads(x, num_heads) for x in (query, key, value))
    record(_weights, query, key, allowed)
    output = attention(query, key, value, allowed, dropout)
    return output.transpose(1, 2).flatten(2)


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, N, C) -> (B, heads, N, C / heads)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _weights(query: Tensor, key: Tensor, allowed: Tensor | None) -> Tensor:
    """The weights of keys (B, heads, K, d) for queries (B, heads, Q, d) that the fused kernel does not tell."""
    logits = query * query.shape[-1] ** -0.5 @ key.transpose(2, 3)
    if allowed is not None:
        logits = logits.masked_fill(~allowed, float('-inf'))
    return logits.softmax(-1)


class MultiheadAttention(MMCVMultiheadAttention):
    """mmcv's ``MultiheadAttention`` (with residual and dropout), batch first, through :func:`attend`."""

    def __init__(self, *args, dropout_layer: dict | None = None, **kwargs) -> None:
        # mmcv's default is one dict for all modules, and ``dropout=0.1`` of any mmdet model is written into it: every
        # module built after that would drop.
        if dropout_layer is None:
            dropout_layer = dict(type='Dropout', drop_prob=0.0)
        super().__init__(*args, dropout_layer=dict(dropout_layer), **kwargs)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        identity: Tensor | None = None,
        query_pos: Tensor | None = None,
        key_pos: Tensor | None = None,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        """Attend and add the identity, see mmcv. Masks as in :func:`attend`; (B, Q, C), (B, K, C) -> (B, Q, C)."""
        is_self_attention = key is None or key is query
        if key is None:
            key = query
        if value is None:
            value = key
        if identity is None:
            identity = query
        q = query if query_pos is None else query + query_pos
        if is_self_attention and key_pos is query_pos:
            k = q  # one sum instead of two
        else:
            k = key if key_pos is None else key + key_pos

        w_q, w_k, w_v = self.attn.in_proj_weight.chunk(3)
        b_q, b_k, b_v = self.attn.in_proj_bias.chunk(3)
        output = attend(
            linear(q, w_q, b_q),
            linear(k, w_k, b_k),
            linear(value, w_v, b_v),
            self.num_heads,
            attn_mask,
            key_padding_mask,
            dropout=self.attn.dropout if self.training else 0.0,
        )
        output = self.proj_drop(self.attn.out_proj(output))
        return identity + self.dropout_layer(output)


class ConditionalAttention(MMDetConditionalAttention):
    """mmdet's ``ConditionalAttention``: content and position have projections of their own, and in cross attention
    they are concatenated rather than added (Conditional DETR, section 3.2), through :func:`attend`."""

    def forward_attn(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Attend to projected tensors, masks as in :func:`attend`; return the output and, instead of weights, None."""
        dropout = self.attn_drop.p if self.training else 0.0
        output = attend(query, key, value, self.num_heads, attn_mask, key_padding_mask, dropout)
        return self.out_proj(output), None


class LevelAttention(ConditionalAttention):
    """Conditional cross attention to each feature level by itself; each query weighs the results of the levels.

    The levels share all projections (DAB-DETR's deformable-encoder-only model).
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        level_weights: Tensor,
        levels: FeatureLevels,
        query_pos: Tensor,
        ref_sine_embed: Tensor,
        key_pos: Tensor,
        key_padding_mask: Tensor | None = None,
        is_first: bool = False,
    ) -> Tensor:
        """Attend to each level and add the query, see mmdet's ``ConditionalAttention`` for all other arguments.

        Args:
            query (Tensor): (B, Q, C).
            key (Tensor): The tokens of ``levels``, (B, S, C).
            level_weights (Tensor): Weight of each level; they add up to one per query, (B, Q, L).
            levels (FeatureLevels): Splits the tokens.
            query_pos (Tensor): (B, Q, C).
            ref_sine_embed (Tensor): (B, Q, C).
            key_pos (Tensor): (B, S, C).
            key_padding_mask (Tensor, optional): Bool, True where a token is padding, (B, S).
            is_first (bool): The first decoder layer adds positions to contents.

        Returns:
            Tensor: (B, Q, C), the query added.
        """
        q = self.qcontent_proj(query)
        k = self.kcontent_proj(key)
        k_pos = self.kpos_proj(key_pos)
        if is_first or self.keep_query_pos:
            q = q + self.qpos_proj(query_pos)
            k = k + k_pos
        q = self._join_by_head(q, self.qpos_sine_proj(ref_sine_embed))
        keys = levels.split(self._join_by_head(k, k_pos))
        values = levels.split(self.v_proj(key))
        masks = [None] * len(keys)
        if key_padding_mask is not None:
            masks = levels.split(key_padding_mask)

        record(level_weights.clone)
        # Weights add up to one, so projecting the mixture is projecting each level.
        mixed = 0.0
        weights = level_weights.split(1, -1)
        for weight, level_key, level_value, mask in zip(weights, keys, values, masks):
            mixed = mixed + weight * self._attend_to_level(q, level_key, level_value, mask)
        return query + self.proj_drop(self.out_proj(mixed))

    def _join_by_head(self, content: Tensor, position: Tensor) -> Tensor:
        """(B, N, C) twice -> (B, N, 2C), in which each head has its part of both."""
        content = content.unflatten(-1, (self.num_heads, -1))
        position = position.unflatten(-1, (self.num_heads, -1))
        return torch.cat([content, position], -1).flatten(2)

    def _attend_to_level(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None
    ) -> Tensor:
        return attend(
            query,
            key,
            value,
            self.num_heads,
            key_padding_mask=key_padding_mask,
            dropout=self.attn_drop.p if self.training else 0.0,
        )
