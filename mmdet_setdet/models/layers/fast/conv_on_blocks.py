"""Convolutions of image patches, with kernels much larger than their stride."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .switch import enabled

# Smaller kernels have fast gradients as they are.
LARGE_KERNEL = 8


def patch_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return ``conv(x)``, (B, C_in, H, W) -> (B, C_out, H // stride, W // stride).

    On a CPU the gradient of a large kernel on three channels is very slow; that on stride x stride as many channels is
    not.

    Args:
        conv (nn.Conv2d): Square, with padding (kernel - stride) // 2.
        x (Tensor): An image of at least stride x stride pixels.
    """
    trains = torch.is_grad_enabled() and conv.weight.requires_grad
    is_large = conv.kernel_size[0] > LARGE_KERNEL
    if enabled() and trains and is_large and x.device.type == 'cpu':
        return conv_on_blocks(conv, x)
    return plain_patch_conv(conv, x)


def plain_patch_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """See :func:`patch_conv`."""
    return conv(x)


def conv_on_blocks(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return ``conv(x)`` by a convolution of stride 1 on blocks of stride x stride pixels, taken as channels.

    The kernel is padded with zeros until it begins and ends where blocks do. Stride 4, kernel 8, padding 2 in 1-d::

        pixels   . .|0 1 2 3|4 5 6 7|8 9 ...      blocks of 4
        kernel   k k k k k k k k                  output 0: from pixel -2 (padding) to 5
        padded   0 0|k k k k|k k k k|0 0 ...      as blocks: from block -1 to block 1, 3 blocks wide
        of which  block -1: 0 0 k k   block 0: k k k k   block 1: k k 0 0
    """
    stride = conv.stride[0]
    padding = conv.padding[0]
    lead = -padding % stride
    trail = -(conv.kernel_size[0] + lead) % stride
    kernel = F.pad(conv.weight, (lead, trail, lead, trail))
    kernel = F.pixel_unshuffle(kernel, stride)
    height, width = x.shape[-2:]
    x = F.pad(x, (0, -width % stride, 0, -height % stride))
    blocks = F.pixel_unshuffle(x, stride)
    blocks = blocks.contiguous(memory_format=torch.channels_last)
    y = F.conv2d(blocks, kernel, conv.bias, padding=(padding + lead) // stride)
    return y[..., : height // stride, : width // stride]
