"""Cross-scale embeddings (arXiv 2108.00154, section 3.1): tokens from kernels of several sizes around one centre."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.fast import patch_conv


def cross_scale_convs(
    in_dims: int, out_dims: int, sizes: Sequence[int], stride: int
) -> nn.ModuleList:
    """Make convolutions around the same centres, whose outputs are concatenated.

    Each has half the channels of the next smaller kernel; the last two have equally many. Of 96 channels kernels of 4,
    8, 16 and 32 pixels have 48, 24, 12 and 12.

    Args:
        in_dims (int): Channels of the input.
        out_dims (int): Channels of all outputs together.
        sizes (Sequence[int]): Sides of the kernels, from small to large.
        stride (int): Of all.
    """
    convs = nn.ModuleList()
    for index, size in enumerate(sizes):
        halvings = min(index + 1, len(sizes) - 1)
        conv_dims = out_dims // 2**halvings
        padding = (size - stride) // 2
        convs.append(nn.Conv2d(in_dims, conv_dims, size, stride, padding))
    return convs.to(
        memory_format=torch.channels_last
    )  # as the maps: weights are not laid out again at each call


class PatchEmbed(nn.Module):
    """Cross-scale embedding of the image at stride 4."""

    def __init__(self, in_channels: int, dims: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.projs = cross_scale_convs(in_channels, dims, sizes, 4)
        self.norm = nn.LayerNorm(dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H // 4, W // 4, C); a side below 4 pixels counts as 4."""
        height, width = x.shape[-2:]
        missing_rows = max(4 - height, 0)
        missing_columns = max(4 - width, 0)
        x = F.pad(x, (0, missing_columns, 0, missing_rows))
        maps = [patch_conv(conv, x) for conv in self.projs]
        x = torch.cat(maps, 1).permute(0, 2, 3, 1)
        return self.norm(x)


class PatchMerging(nn.Module):
    """Cross-scale embedding between two stages: half the size, twice the channels."""

    def __init__(self, dims: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dims)
        self.reductions = cross_scale_convs(dims, 2 * dims, sizes, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / 2, W / 2, 2 C), rounded up."""
        height, width = x.shape[1:3]
        x = self.norm(x)
        x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        x = x.permute(0, 3, 1, 2)
        maps = [conv(x) for conv in self.reductions]
        return torch.cat(maps, 1).permute(0, 2, 3, 1)
