"""A convolution with the frozen batch norm folded into its weights equals the two one after the other."""

import pytest
import torch
from torch import nn

from mmdet_setdet.models.layers import FrozenBatchNorm2d
from mmdet_setdet.models.layers.fast import conv_norm, use_fast_paths
from mmdet_setdet.models.layers.fast.frozen_conv import plain_conv_norm

CONVS = {
    'plain': dict(kernel_size=3),
    'padded': dict(kernel_size=3, padding=1, stride=2),
    'dilated': dict(kernel_size=3, padding=2, dilation=2),
    'grouped': dict(kernel_size=3, padding=1, groups=2),
    'with bias': dict(kernel_size=1, bias=True),
    'padded with pixels': dict(kernel_size=3, padding=1, padding_mode='reflect'),
    'same size': dict(kernel_size=3, padding='same'),
}


@pytest.fixture(autouse=True)
def fast_paths():
    with use_fast_paths(True):
        yield


def make_layers(**options):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, **{'bias': False, **options})
    norm = FrozenBatchNorm2d(6)
    for name, buffer in norm.named_buffers():
        buffer.copy_(torch.rand(6) + (0.5 if 'var' in name else -0.3))
    x = torch.randn(2, 4, 9, 11, requires_grad=True)
    return conv, norm, x


def output_and_gradients(function, conv, norm, x):
    y = function(conv, norm, x)
    return [y, *torch.autograd.grad(y.float().square().sum(), [x, *conv.parameters()])]


def assert_all_close(got, expected, **tolerance):
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize('name', CONVS)
def test_equals_conv_then_norm(name):
    layers = make_layers(**CONVS[name])
    got = output_and_gradients(conv_norm, *layers)
    expected = output_and_gradients(plain_conv_norm, *layers)
    assert_all_close(got, expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(conv_norm(*layers), expected[0], rtol=1e-4, atol=1e-5)


def test_autocast_changes_no_type():
    layers = make_layers(kernel_size=3, padding=1, bias=True)
    with torch.autocast('cpu', torch.bfloat16):
        got = output_and_gradients(conv_norm, *layers)
    assert got[0].dtype == torch.bfloat16
    assert {gradient.dtype for gradient in got[1:]} == {torch.float32}
    exact = output_and_gradients(conv_norm, *layers)
    for rounded, expected in zip(got, exact):
        assert (rounded - expected).norm() < 0.02 * expected.norm()


def test_second_derivatives():
    conv, norm, x = make_layers(kernel_size=3)
    results = []
    for function in (conv_norm, plain_conv_norm):
        (gradient,) = torch.autograd.grad(
            function(conv, norm, x).pow(3).sum(), x, create_graph=True
        )
        results.append(torch.autograd.grad(gradient.square().sum(), [x, conv.weight]))
    assert_all_close(*results, rtol=1e-3, atol=1e-2)


def test_frozen_weights_have_no_gradient():
    conv, norm, x = make_layers(kernel_size=3)
    conv.requires_grad_(False)
    conv_norm(conv, norm, x).sum().backward()
    assert conv.weight.grad is None
    assert x.grad is not None


def test_keeps_no_scaled_weights_for_backward():
    layers = make_layers(kernel_size=3)
    conv, _, x = layers
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        conv_norm(*layers)
    large = [tensor for tensor in kept if tensor.dim() == 4]
    assert len(large) == 2
    assert {tensor.data_ptr() for tensor in large} == {conv.weight.data_ptr(), x.data_ptr()}


def test_other_convolutions_are_not_folded():

    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    _, norm, x = make_layers(kernel_size=3)
    conv = Doubled(4, 6, 3)
    torch.testing.assert_close(conv_norm(conv, norm, x), norm(conv(x)))


@pytest.mark.parametrize('transform', ['compiled', 'per sample'])
def test_transformed(transform):
    conv, norm, x = make_layers(kernel_size=3)
    expected = norm(conv(x))
    if transform == 'compiled':
        compiled = torch.compile(conv_norm, backend='eager', fullgraph=True)
        got = compiled(conv, norm, x)
    else:
        got = torch.func.vmap(lambda image: conv_norm(conv, norm, image[None]))(x)[:, 0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
