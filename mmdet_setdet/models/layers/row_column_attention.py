"""Row-column decoupled attention (RCDA): one softmax over the columns of a map and one over its rows.

A query attends to a map of h x w cells with h + w weights instead of h x w
(Anchor DETR, arXiv 2109.07107, section 3.4).
"""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from .feature_levels import FeatureLevels
from .recording import record


class RowColumnAttention(BaseModule):
    """Attention to the tokens of one feature map, decoupled along x and y; adds its output to the query.

    It is called as mmcv's ``MultiheadAttention`` is. Positions have two parts, y and x, each of the size of a token.

    Args:
        embed_dims (int): Size C of a query and of a token.
        num_heads (int): Number of heads; divides C.
        attn_drop (float): Probability that an attention weight is dropped.
        proj_drop (float): Probability that a number of the output is dropped.
        batch_first (bool): Always True; mmdet's layers pass it.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        self.embed_dims = embed_dims
        self.num_heads = num_heads
        # Projections of the query along x and y, of the key along x and y, and of the value.
        self.in_proj_weight = nn.Parameter(torch.empty(5 * embed_dims, embed_dims))
        self.in_proj_bias = nn.Parameter(torch.zeros(5 * embed_dims))
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj_drop = nn.Dropout(proj_drop)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        query_pos: Tensor,
        key_pos: Tensor,
        levels: FeatureLevels,
        key_padding_mask: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        """Attend and add the query.

        The keys along x are the means of the map's columns, those along y the means of its rows; both include padding,
        as in the authors' code.

        Args:
            query (Tensor): (B, Q, C).
            key (Tensor): The tokens of one map, which are the values, too, (B, S, C).
            query_pos (Tensor): Positions of the queries, y and x, (B, Q, 2C).
            key_pos (Tensor): Positions of the tokens, y and x, (B, S, 2C).
            levels (FeatureLevels): Height and width of the map.
            key_padding_mask (Tensor, optional): True where a token is padding, (B, S).
            **kwargs: Not used; mmdet's layers pass the values.

        Returns:
            Tensor: (B, Q, C).
        """
        size = levels.shapes[0]
        query_y, query_x = query_pos.chunk(2, -1)
        tokens = key.unflatten(1, size)
        key_y, key_x = key_pos.unflatten(1, size).chunk(2, -1)
        key_y = (tokens + key_y).mean(2)
        key_x = (tokens + key_x).mean(1)
        w_qx, w_qy, w_kx, w_ky, w_v = self.in_proj_weight.chunk(5)
        b_qx, b_qy, b_kx, b_ky, b_v = self.in_proj_bias.chunk(5)

        padded_x = padded_y = None
        if key_padding_mask is not None:
            padding = key_padding_mask.unflatten(1, size)
            padded_x, padded_y = padding[:, 0], padding[:, :, 0]
        weights_x = self._weights(
            F.linear(query + query_x, w_qx, b_qx), F.linear(key_x, w_kx, b_kx), padded_x
        )
        weights_y = self._weights(
            F.linear(query + query_y, w_qy, b_qy), F.linear(key_y, w_ky, b_ky), padded_y
        )
        record(_of_cells, weights_x, weights_y)
        values = F.linear(tokens, w_v, b_v)
        values = values.unflatten(-1, (self.num_heads, -1))
        output = self.out_proj(weigh_map(weights_x, weights_y, values))
        return query + self.proj_drop(output)

    def _weights(self, query: Tensor, key: Tensor, padded: Tensor | None) -> Tensor:
        """Attention weights of queries (B, Q, C) on keys (B, K, C): (B, heads, Q, K)."""
        query = query.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        key = key.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        logits = query * query.shape[-1] ** -0.5 @ key.transpose(2, 3)
        if padded is not None:
            logits = logits.masked_fill(padded[:, None, None], float('-inf'))
        return self.attn_drop(logits.softmax(-1))


def weigh_map(weights_x: Tensor, weights_y: Tensor, values: Tensor) -> Tensor:
    """Sum the cells of a map, each weighted by the product of its column's and its row's weight.

    Args:
        weights_x (Tensor): Weights of the w columns, (B, heads, Q, w).
        weights_y (Tensor): Weights of the h rows, (B, heads, Q, h).
        values (Tensor): (B, h, w, heads, C / heads).

    Returns:
        Tensor: (B, Q, C).
    """
    first, second = weights_x, weights_y
    # An exported file has one order, for maps of all shapes.
    if not torch.compiler.is_exporting() and weights_y.shape[-1] > weights_x.shape[-1]:
        # The longer side is summed first: a number per query and cell of the shorter side is what remains in memory.
        first, second = second, first
        values = values.transpose(1, 2)
    summed = torch.einsum('bnqw,bhwnc->bnqhc', first, values)
    output = torch.einsum('bnqh,bnqhc->bqnc', second, summed)
    return output.flatten(2)


def _of_cells(weights_x: Tensor, weights_y: Tensor) -> Tensor:
    """The weights of the cells, row after row, that follow from those of columns and rows, (B, heads, Q, S)."""
    return (weights_y[..., None] * weights_x[..., None, :]).flatten(3)
