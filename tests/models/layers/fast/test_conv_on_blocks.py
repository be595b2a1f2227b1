"""Large kernels on blocks of pixels equal the convolution itself."""

import pytest
import torch
from torch import nn

from mmdet_setdet.models.layers.fast import patch_conv, use_fast_paths
from mmdet_setdet.models.layers.fast.conv_on_blocks import conv_on_blocks, plain_patch_conv


def make_conv(size, stride=4):
    torch.manual_seed(0)
    return nn.Conv2d(3, 8, size, stride, (size - stride) // 2)


def output_and_gradients(function, conv, x):
    y = function(conv, x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *conv.parameters()])]


@pytest.mark.parametrize('image_size', [(64, 96), (35, 5), (4, 4)])
@pytest.mark.parametrize('size', [4, 8, 16, 32])
def test_equals_the_convolution(size, image_size):
    conv = make_conv(size)
    x = torch.randn(2, 3, *image_size, requires_grad=True)
    got = output_and_gradients(conv_on_blocks, conv, x)
    expected = output_and_gradients(plain_patch_conv, conv, x)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ('size', 'grad', 'fast', 'on_blocks'),
    [
        (16, True, True, True),
        (16, True, False, False),
        (16, False, True, False),
        (8, True, True, False),
    ],
)
def test_blocks_are_for_gradients_of_large_kernels(size, grad, fast, on_blocks):
    conv = make_conv(size)
    calls = []
    conv.register_forward_hook(lambda *args: calls.append(args))
    with use_fast_paths(fast), torch.set_grad_enabled(grad):
        patch_conv(conv, torch.randn(1, 3, 32, 32))
    assert bool(calls) != on_blocks
