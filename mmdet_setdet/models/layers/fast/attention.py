"""Attention with an additive bias, by the kernel that is fastest on the device."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .switch import enabled


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
    is_faster = enabled() and trains_bias and query.device.type == 'cpu'
    # The layout of the fused kernel's result is not that of what an exporter replaces it by.
    if not (is_faster or torch.compiler.is_exporting()):
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
    return F.scaled_dot_product_attention(query, key, value, bias)
