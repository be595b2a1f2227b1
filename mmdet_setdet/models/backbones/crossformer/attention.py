"""Attention within groups of tokens, with a bias by relative position."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from ...layers.fast import Linear, biased_attention
from .groups import Groups, RelativePositions

HEAD_DIMS = 32


class Part(NamedTuple):
    """Groups of equal shape that lie side by side among tokens.

    Attributes:
        num_groups (int): Their number.
        rows (int): Of each group.
        columns (int): Of each group; it has rows x columns = N tokens.
        bias (Tensor, optional): Of their attention, (heads, N, N).
    """

    num_groups: int
    rows: int
    columns: int
    bias: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        """int: Of all groups together."""
        return self.num_groups * self.rows * self.columns


class DynamicPosition(nn.Module):
    """Dynamic position bias: a small network from the difference of two positions to a bias of their attention.

    arXiv 2108.00154, section 3.2, figure 3.

    Args:
        dims (int): Channels of the tokens; the network has a sixteenth of them.
        num_heads (int): Number of biases per difference.
        residual (bool): Shortcuts around the inner layers.
    """

    def __init__(self, dims: int, num_heads: int, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        dims //= 16
        self.pos_proj = nn.Linear(2, dims)
        self.pos1 = self._layer(dims, dims)
        self.pos2 = self._layer(dims, dims)
        self.pos3 = self._layer(dims, num_heads)

    @staticmethod
    def _layer(dims: int, out_dims: int) -> nn.Sequential:
        return nn.Sequential(nn.LayerNorm(dims), nn.ReLU(inplace=True), nn.Linear(dims, out_dims))

    def forward(self, differences: Tensor) -> Tensor:
        """(P, 2) -> (P, num_heads)."""
        x = self.pos_proj(differences)
        for layer in (self.pos1, self.pos2):
            x = x + layer(x) if self.residual else layer(x)
        return self.pos3(x)


class RelativePosition(nn.Module):
    """The same bias from a table with an entry for each difference within a group of ``size`` x ``size``."""

    def __init__(self, size: int, num_heads: int) -> None:
        super().__init__()
        self.size = size
        table = torch.empty((2 * size - 1) ** 2, num_heads)
        self.relative_position_bias_table = nn.Parameter(trunc_normal_(table, std=0.02))

    def forward(self, differences: Tensor) -> Tensor:
        """(P, 2) -> (P, num_heads)."""
        rows, columns = (differences.long() + self.size - 1).unbind(1)
        index = rows * (2 * self.size - 1) + columns
        return self.relative_position_bias_table[index]


class Attention(nn.Module):
    """Self-attention within groups.

    Args:
        dims (int): Channels C.
        num_heads (int): Number of heads.
        position (nn.Module, optional): Maps differences of positions (P, 2) to biases (P, heads).
    """

    def __init__(self, dims: int, num_heads: int, position: nn.Module | None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.pos = position
        self.qkv = Linear(dims, 3 * dims)
        self.proj = Linear(dims, dims)

    def forward(self, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Tokens of groups of several shapes, (T, C), see :class:`Part` -> (T, C)."""
        qkv = self.qkv(x)
        attended = []
        for tokens, part in zip(qkv.split([part.num_tokens for part in parts]), parts):
            attended.append(self._attend(tokens, part))
        attended = attended[0] if len(parts) == 1 else torch.cat(attended)
        return self.proj(attended)

    def _attend(self, qkv: Tensor, part: Part) -> Tensor:
        """Queries, keys and values of one part, (T', 3 C) -> (T', C)."""
        num_tokens = qkv.shape[0]
        qkv = qkv.view(-1, part.rows * part.columns, 3, self.num_heads, HEAD_DIMS)
        query, key, value = qkv.transpose(1, 3).unbind(2)
        attended = biased_attention(query, key, value, part.bias)
        return attended.transpose(1, 2).reshape(num_tokens, -1)

    def biases(self, groups: Groups, relative: RelativePositions | None) -> list[Tensor | None]:
        """Return the biases of each shape of group, (heads, N, N): parts of those of the largest.

        Args:
            groups (Groups): The groups.
            relative (RelativePositions, optional): Within the largest group.
        """
        if self.pos is None:
            return [None] * len(groups.shapes)
        differences, pairs = relative
        by_difference = self.pos(differences).t().contiguous()
        largest = by_difference.index_select(1, pairs.flatten())
        largest = largest.view(-1, *groups.largest, *groups.largest)
        biases = []
        for _, rows, columns in groups.shapes:
            bias = largest[:, :rows, :columns, :rows, :columns]
            bias = bias.reshape(self.num_heads, rows * columns, -1)
            biases.append(bias)
        return biases


class PooledAttention(nn.Module):
    """Attention of the Pyramid Vision Transformer (arXiv 2102.12122): all tokens attend to a pooled map.

    Args:
        dims (int): Channels C.
        num_heads (int): Number of heads.
        stride (int): Of the pooling.
    """

    pos = None

    def __init__(self, dims: int, num_heads: int, stride: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.stride = stride
        self.q = Linear(dims, dims)
        self.kv = Linear(dims, 2 * dims)
        self.proj = Linear(dims, dims)
        if stride > 1:
            self.sr = nn.Conv2d(dims, dims, stride, stride)
            self.norm = nn.LayerNorm(dims)

    def forward(self, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Tokens of maps, (T, C), which are a single part -> (T, C)."""
        (part,) = parts
        maps = x.view(-1, part.rows, part.columns, x.shape[1])
        images = maps.shape[0]
        query = self.q(x)
        query = query.view(images, -1, self.num_heads, HEAD_DIMS).transpose(1, 2)
        if self.stride > 1:
            maps = self._pool(maps)
        kv = self.kv(maps)
        kv = kv.view(images, -1, 2, self.num_heads, HEAD_DIMS)
        key, value = kv.transpose(1, 3).unbind(2)
        attended = biased_attention(query, key, value)
        attended = attended.transpose(1, 2).reshape(x.shape)
        return self.proj(attended)

    def biases(self, groups: Groups, relative: None) -> list[None]:
        """Return None for each shape of group."""
        return [None] * len(groups.shapes)

    def _pool(self, maps: Tensor) -> Tensor:
        rows, columns = maps.shape[1:3]
        missing_rows = -rows % self.stride
        missing_columns = -columns % self.stride
        maps = F.pad(maps, (0, 0, 0, missing_columns, 0, missing_rows))
        maps = self.sr(maps.permute(0, 3, 1, 2))
        return self.norm(maps.permute(0, 2, 3, 1))
