"""Blocks and stages of CrossFormer.

Everything in a block but attention concerns each token alone and does not depend on the order of tokens. So they stay
in the order of their groups (:mod:`.groups`) throughout a block, and some groups may pass through it before others.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...layers.fast import add_branch, map_chunks, mlp, tokens_in_cache
from .attention import (
    HEAD_DIMS,
    Attention,
    DynamicPosition,
    Part,
    PooledAttention,
    RelativePosition,
)
from .groups import Groups, RelativePositions, relative_positions

MLP_RATIO = 4
# CrossFormer++ has an activation cooling layer after every third block (arXiv 2303.06908, section 4.2).
COOLING_PERIOD = 3


class FeedForward(nn.Module):
    """fc2(GELU(fc1(x))): ``dims`` channels become ``hidden_dims`` and ``dims`` again."""

    def __init__(self, dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, dims)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dims) -> the same."""
        return mlp(x, self.fc1, self.fc2)


class Block(nn.Module):
    """Attention and a two-layer network on normalised tokens, both with a shortcut.

    Args:
        dims (int): Channels C.
        attn (nn.Module): :class:`Attention` or :class:`PooledAttention`.
        drop_path_rate (float): Share of images for which both branches are dropped in training.
        cooling (bool): The block is followed by CrossFormer++'s activation cooling layer, see :meth:`cooling_layer`.
    """

    def __init__(self, dims: int, attn: nn.Module, drop_path_rate: float, cooling: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dims)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dims)
        self.mlp = FeedForward(dims, MLP_RATIO * dims)
        self.drop_path_rate = drop_path_rate
        self.cooling = cooling
        if cooling:
            self.ex_conv = nn.Conv2d(dims, dims, 3, padding=1, groups=dims)
            self.ex_ln = nn.LayerNorm(dims)

    def forward(self, x: Tensor, parts: Sequence[Part], drop_path: Tensor | None = None) -> Tensor:
        """Compute x + drop_path(attn(norm1(x))), and of the result x + drop_path(mlp(norm2(x))).

        Args:
            x (Tensor): Tokens of groups, (T, C).
            parts (Sequence[Part]): What the groups are.
            drop_path (Tensor, optional): Factor of the branches, (T, 1). 1 by default.

        Returns:
            Tensor: (T, C).
        """
        x = add_branch(x, self.attn(self.norm1(x), parts), drop_path)
        return add_branch(x, self.mlp(self.norm2(x)), drop_path)

    def cooling_layer(self, x: Tensor) -> Tensor:
        """Apply a depthwise convolution and a norm without shortcut, which end the residual stream's growth.

        (B, H, W, C) -> the same.
        """
        x = self.ex_conv(x.permute(0, 3, 1, 2))
        return self.ex_ln(x.permute(0, 2, 3, 1))


class Stage(nn.Module):
    """Blocks on maps of one stride, with short and long distance attention in turn.

    Args:
        dims (int): Channels C.
        drop_path_rates (Sequence[float]): One per block.
        group_size (int): G of the paper, side of a group.
        interval (int): I of the paper, distance of the members of a long distance group.
        attention (str): One of ``ATTENTIONS``.
        position (str): One of ``POSITIONS``.
        cooling (bool): Every third block but the last has a cooling layer.
        with_cp (bool): Compute blocks again in the backward pass instead of keeping their activations.
    """

    def __init__(
        self,
        dims: int,
        drop_path_rates: Sequence[float],
        group_size: int,
        interval: int,
        attention: str,
        position: str,
        cooling: bool,
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.group_size = group_size
        self.interval = interval
        self.attention = attention
        self.position = position
        self.with_cp = with_cp
        self.blocks = nn.ModuleList()
        for index, rate in enumerate(drop_path_rates):
            is_third = index % COOLING_PERIOD == COOLING_PERIOD - 1
            is_last = index == len(drop_path_rates) - 1
            block_cooling = cooling and is_third and not is_last
            self.blocks.append(Block(dims, self._make_attention(dims), rate, block_cooling))
        differences, pairs = relative_positions(group_size, group_size)
        self.register_buffer('differences', differences, persistent=False)
        self.register_buffer('pairs', pairs, persistent=False)
        self.downsample = None

    def _make_attention(self, dims: int) -> nn.Module:
        num_heads = dims // HEAD_DIMS
        if self.attention == 'pvt':
            return PooledAttention(dims, num_heads, self.interval)
        position = None
        if self.position.startswith('dynamic'):
            position = DynamicPosition(
                dims, num_heads, residual=self.position == 'dynamic-residual'
            )
        elif self.position == 'relative':
            position = RelativePosition(self.group_size, num_heads)
        return Attention(dims, num_heads, position)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        shape = x.shape
        pattern = []
        for groups in self._make_groups(shape[:3], x.device):
            pattern.append((groups, self._relative_positions(groups)))
        tokens = x.reshape(-1, shape[-1])
        current = None  # the groups in whose order the tokens are; None: in that of the map
        for index, block in enumerate(self.blocks):
            groups, relative = pattern[index % 2]
            tokens = groups.arrange(tokens, current)
            current = groups
            if self.with_cp and torch.is_grad_enabled():
                tokens = checkpoint(
                    self.run_block, block, tokens, groups, relative, use_reentrant=False
                )
            else:
                tokens = self.run_block(block, tokens, groups, relative)
            if block.cooling:
                cooled = block.cooling_layer(groups.restore(tokens).view(shape))
                tokens = cooled.reshape(tokens.shape)
                current = None
        if current is not None:
            tokens = current.restore(tokens)
        return tokens.view(shape)

    @staticmethod
    def run_block(
        block: Block, tokens: Tensor, groups: Groups, relative: RelativePositions | None
    ) -> Tensor:
        """Apply a block to all groups at once, on a CPU to as many at a time as its cache holds.

        Args:
            block (Block): The block.
            tokens (Tensor): In the order of the groups, (T, C). Their memory may be used for the result.
            groups (Groups): The groups.
            relative (RelativePositions, optional): Within the largest group.

        Returns:
            Tensor: (T, C).
        """
        max_tokens = tokens_in_cache(tokens.device, widest=MLP_RATIO * tokens.shape[1])
        biases = block.attn.biases(groups, relative)
        chunks = []
        for chunk in groups.chunks(max_tokens):
            chunks.append([Part(*shape, biases[index]) for index, *shape in chunk])
        sizes = [sum(part.num_tokens for part in parts) for parts in chunks]
        drop_path = [None] * len(sizes)
        if block.training and block.drop_path_rate:
            scale = groups.drop_path_scale(block.drop_path_rate)
            drop_path = scale.split(sizes)
        return map_chunks(block, tokens, sizes, list(zip(chunks, drop_path)), donated=True)

    def _make_groups(
        self, shape: tuple[int, int, int], device: torch.device
    ) -> tuple[Groups, Groups]:
        """Return the groups of the blocks in even and in odd places, for maps (B, H, W)."""
        size = self.group_size
        shorter, longer = sorted(shape[1:])
        is_small = shorter <= size
        spans_map = self.attention == 'short-long-map'
        if self.attention == 'pvt' or (is_small and self.position != 'relative'):
            # One group, or squares in the code of 2021.
            size = shorter if spans_map else longer
        near = Groups.of_map(shape, size, device=device)
        if is_small or self.attention in ('short', 'pvt'):
            return near, near
        if self.attention == 'swin':
            return near, Groups.of_map(shape, size, shift=size // 2, device=device)
        if spans_map:
            return near, Groups.of_map(shape, longer, self.interval, device=device)
        if self.interval == 1:
            return near, near
        return near, Groups.of_map(shape, size, self.interval, device=device)

    def _relative_positions(self, groups: Groups) -> RelativePositions | None:
        """Return relative positions within the largest group, if they are needed; those of a full group are kept."""
        if self.blocks[0].attn.pos is None:
            return None
        if groups.largest == (self.group_size, self.group_size):
            return self.differences, self.pairs
        return relative_positions(*groups.largest, self.differences.device)
