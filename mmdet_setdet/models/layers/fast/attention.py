"""Attention by the kernel that is fastest on the device: torch's fused one, or plain batched products on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .switch import enabled, graph_is_rewritten

# Scores, images x heads x queries x keys, up to which batched products are the faster on a CPU. The fused kernel's
# gradient is slower in bfloat16 than in float32, and takes five times as long as products for 64 queries and keys.
MOST_SCORES = {torch.float32: 2**20, torch.bfloat16: 2**24}


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    allowed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return softmax(q k^T / sqrt(d)) v.

    Args:
        query (Tensor): (B, heads, Q, d).
        key (Tensor): (B, heads, K, d).
        value (Tensor): (B, heads, K, e).
        allowed (Tensor, optional): Bool, True where a query may attend to a key, broadcast to (B, heads, Q, K). Each
            query has at least one such key.
        dropout (float): Probability that an attention weight is dropped.

    Returns:
        Tensor: (B, heads, Q, e).
    """
    if not _products_are_faster(query, key):
        return plain_attention(query, key, value, allowed, dropout)
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float('-inf'))
    weights = scores.softmax(-1)
    if dropout > 0:
        weights = F.dropout(weights, dropout)
    return weights @ value


# See :func:`attention`.
plain_attention = F.scaled_dot_product_attention


def biased_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return softmax(q k^T / sqrt(d) + bias) v.

    torch's fused kernel has no fast gradient for a bias on a CPU: there plain batched products were measured to be
    faster (3.6 ms against 5.3 ms for groups of 7 x 7 tokens).

    Args:
        query (Tensor): (groups, heads, N, d).
        key (Tensor): (groups, heads, M, d).
        value (Tensor): (groups, heads, M, d).
        bias (Tensor, optional): Added to the scores of all groups, (heads, N, M).

    Returns:
        Tensor: (groups, heads, N, d).
    """
    trains_bias = bias is not None and bias.requires_grad and query.requires_grad
    has_slow_gradient = trains_bias and enabled() and query.device.type == 'cpu'
    # The layout of the fused kernel's result is not that of what an exporter replaces it by.
    is_exported = torch.compiler.is_exporting()
    if not (has_slow_gradient or is_exported or _products_are_faster(query, key)):
        return plain_biased_attention(query, key, value, bias)
    query = query.contiguous()
    key = key.contiguous()
    value = value.contiguous()
    products = query @ key.transpose(-2, -1)
    scale = query.shape[-1] ** -0.5
    scores = products * scale if bias is None else torch.add(bias, products, alpha=scale)
    return scores.softmax(-1) @ value


def plain_biased_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
) -> Tensor:
    """See :func:`biased_attention`."""
    if bias is not None:
        bias = bias.to(query.dtype)[None]
    return plain_attention(query, key, value, bias)


def _products_are_faster(query: Tensor, key: Tensor) -> bool:
    if not enabled() or graph_is_rewritten() or query.device.type != 'cpu':
        return False
    in_autocast = torch.is_autocast_enabled('cpu')
    dtype = torch.get_autocast_dtype('cpu') if in_autocast else query.dtype
    in_training = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad)
    if in_training and dtype == torch.float32:
        return False
    scores = query[..., 0].numel() * key.shape[-2]
    return scores <= MOST_SCORES.get(dtype, 0)
