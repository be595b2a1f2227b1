"""Attention within groups of tokens: how groups are formed on maps of any size, and the attention itself.

The tokens of a batch, (T, C), are kept in the order of their groups: those that attend to each other lie side by side,
and so do groups of equal shape. Where a map ends groups are smaller, so that there is neither padding nor a mask.
"""
from collections.abc import Iterator
from functools import cached_property

import torch
import torch.nn.functional as F
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from .linear import Linear

HEAD_DIMS = 32


def axis_groups(length: int, size: int, interval: int, lead: int, device) -> list[Tensor]:
    """Divides positions 0 ... length - 1 into groups of ``size`` members that lie ``interval`` apart.

    Where the positions end, groups are smaller. ``lead`` positions at the beginning form a group of their own.

    Returns:
        list[Tensor]: Positions (groups, members); groups of equal size are one tensor.
    """
    positions = torch.arange(length, device=device)
    found = [positions[None, :lead]] if lead else []
    span = size * interval
    end = lead + (length - lead) // span * span
    found.append(positions[lead:end].view(-1, size, interval).transpose(1, 2).reshape(-1, size))
    members, longer = divmod(length - end, interval)
    rest = F.pad(positions[end:], (0, -(length - end) % interval)).view(-1, interval).T
    found += [rest[:longer], rest[longer:, :members]]
    return [groups for groups in found if groups.numel()]


class Groups:
    """Which tokens of B maps of H x W attend to each other.

    Attributes:
        order (Tensor): Number of the token, counted image by image and row by row, at each place, (T, ).
        shapes (list[tuple[int, int, int]]): Number of groups, their rows and their columns, in the order of the places.
        images (int): B.
    """

    def __init__(self, images: int, rows: list[Tensor], columns: list[Tensor]) -> None:
        height, width = (sum(groups.numel() for groups in axis) for axis in (rows, columns))
        first = torch.arange(images, device=rows[0].device).view(-1, 1, 1, 1, 1) * (height * width)
        order, self.shapes, self.images = [], [], images
        for row in rows:
            for column in columns:
                token = first + row[:, None, :, None] * width + column[:, None, :]
                order.append(token.flatten())
                self.shapes.append((images * len(row) * len(column), row.shape[1], column.shape[1]))
        self.order = torch.cat(order)

    @property
    def largest(self) -> tuple[int, int]:
        """The most rows and the most columns of any group."""
        _, rows, columns = zip(*self.shapes)
        return max(rows), max(columns)

    @cached_property
    def inverse(self) -> Tensor:
        """The place of each token, (T, )."""
        return torch.empty_like(self.order).scatter_(0, self.order, torch.arange(len(self.order),
                                                                                 device=self.order.device))

    def arrange(self, tokens: Tensor, present: 'Groups | None') -> Tensor:
        """Brings tokens from the order of other groups, or from that of the map (None), into this one, (T, C)."""
        if present is self:
            return tokens
        return tokens.index_select(0, self.order if present is None else present.inverse[self.order])

    def pieces(self, limit: int | None = None) -> Iterator[tuple[int, int]]:
        """Cuts the tokens between groups: how many tokens, ``limit`` if a group is not larger, and place of shape."""
        for index, (count, rows, columns) in enumerate(self.shapes):
            at_a_time = count if limit is None else max(limit // (rows * columns), 1)
            for start in range(0, count, at_a_time):
                yield min(at_a_time, count - start) * rows * columns, index

    def drop_path(self, rate: float) -> Tensor:
        """What a residual branch is multiplied with in training: a random number for each image, (T, 1)."""
        noise = torch.rand(self.images, 1, device=self.order.device).ge(rate).float().div(1 - rate)
        return noise.index_select(0, self.order * self.images // len(self.order))


def relative_positions(rows: int, columns: int, device=None) -> tuple[Tensor, Tensor]:
    """All differences of two positions in a group, (P, 2), and which of them belongs to each pair of tokens, (N, N)."""
    rows_apart, columns_apart = (torch.arange(1 - size, size, device=device) for size in (rows, columns))
    differences = torch.cartesian_prod(rows_apart, columns_apart).float()
    place = torch.arange(rows, device=device)[:, None] * (2 * columns - 1) + torch.arange(columns, device=device)
    place = place.flatten()
    return differences, place[:, None] - place + len(differences) // 2


class DynamicPosition(nn.Module):
    """Attention bias of a pair of tokens from their difference of position, by a small network.

    Args:
        dims (int): Channels of the tokens; the network has a sixteenth of them.
        num_heads (int): Biases for each difference.
        residual (bool): Shortcuts around the inner layers.
    """

    def __init__(self, dims: int, num_heads: int, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        dims //= 16
        self.pos_proj = nn.Linear(2, dims)
        self.pos1, self.pos2, self.pos3 = (
            nn.Sequential(nn.LayerNorm(dims), nn.ReLU(inplace=True), nn.Linear(dims, out))
            for out in (dims, dims, num_heads))

    def forward(self, differences: Tensor) -> Tensor:
        """(P, 2) -> (P, num_heads)."""
        x = self.pos_proj(differences)
        for layer in (self.pos1, self.pos2):
            x = x + layer(x) if self.residual else layer(x)
        return self.pos3(x)


class RelativePosition(nn.Module):
    """The same from a table with an entry for each difference within a group of ``size`` x ``size``."""

    def __init__(self, size: int, num_heads: int) -> None:
        super().__init__()
        self.size = size
        table = torch.empty((2 * size - 1)**2, num_heads)
        self.relative_position_bias_table = nn.Parameter(trunc_normal_(table, std=.02))

    def forward(self, differences: Tensor) -> Tensor:
        """(P, 2) -> (P, num_heads)."""
        rows, columns = (differences.long() + self.size - 1).unbind(1)
        return self.relative_position_bias_table[rows * (2 * self.size - 1) + columns]


class Attention(nn.Module):
    """Self-attention within groups.

    Args:
        dims (int): Channels.
        num_heads (int): Heads.
        position (nn.Module, optional): Gives the bias for a difference of positions.
    """

    def __init__(self, dims: int, num_heads: int, position: nn.Module | None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.pos = position
        self.qkv = Linear(dims, 3 * dims)
        self.proj = Linear(dims, dims)

    def forward(self, x: Tensor, rows: int, columns: int, bias: Tensor | None) -> Tensor:
        """Tokens of groups of rows x columns = N, (T, C), and biases (heads, N, N) -> (T, C)."""
        x = self.qkv(x).view(-1, rows * columns, 3, self.num_heads, HEAD_DIMS)
        x = attend(*(part.transpose(1, 2) for part in x.unbind(2)), bias)
        return self.proj(x.transpose(1, 2).reshape(-1, self.num_heads * HEAD_DIMS))


class PooledAttention(nn.Module):
    """Attention of the Pyramid Vision Transformer (arXiv 2102.12122): a pooled map is what all tokens attend to.

    Args:
        dims (int): Channels.
        num_heads (int): Heads.
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

    def forward(self, x: Tensor, rows: int, columns: int, bias: None) -> Tensor:
        """Tokens of maps of rows x columns, (T, C) -> (T, C)."""
        maps, dims = x.view(-1, rows, columns, x.shape[1]), x.shape[1]
        q = self.q(x).view(len(maps), -1, self.num_heads, HEAD_DIMS).transpose(1, 2)
        if self.stride > 1:
            maps = F.pad(maps, (0, 0, 0, -columns % self.stride, 0, -rows % self.stride))
            maps = self.norm(self.sr(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        kv = self.kv(maps).view(len(maps), -1, 2, self.num_heads, HEAD_DIMS)
        k, v = (part.transpose(1, 2) for part in kv.unbind(2))
        return self.proj(attend(q, k, v, bias).transpose(1, 2).reshape(-1, dims))


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v for q, k, v (groups, heads, N, d) and bias (heads, N, N), by what is fastest.

    In training on a CPU, where the bias needs a gradient, that was measured to be plain batched products.
    """
    if bias is None or q.is_cuda or not (q.requires_grad and bias.requires_grad):
        return F.scaled_dot_product_attention(q, k, v, None if bias is None else bias.to(q.dtype)[None])
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    return torch.add(bias, q @ k.transpose(-2, -1), alpha=q.shape[-1]**-0.5).softmax(-1) @ v
