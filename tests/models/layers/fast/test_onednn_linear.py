"""Linear layers by oneDNN equal torch's in all but time."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import Linear as MMCVLinear
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_setdet.models.layers.fast import Linear, linear, mlp, use_fast_paths, use_onednn
from mmdet_setdet.models.layers.fast.onednn_linear import (
    gelu_linear,
    linear_gelu,
    plain_linear,
    plain_mlp,
)

PAIRS = {
    'linear': (linear, F.linear),
    'gelu before': (gelu_linear, lambda x, *parameters: F.linear(F.gelu(x), *parameters)),
    'gelu after': (linear_gelu, lambda x, *parameters: F.gelu(F.linear(x, *parameters))),
}


@pytest.fixture(autouse=True)
def fast_paths():
    with use_fast_paths(True):
        yield


@pytest.fixture
def operands():
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 37, 24), (40, 24), (40,))
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def assert_all_close(got, expected, **tolerance):
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize('with_bias', [True, False])
@pytest.mark.parametrize('name', PAIRS)
def test_equals_torch_with_its_gradients(operands, name, with_bias):
    fast, plain = PAIRS[name]
    operands = operands if with_bias else operands[:2]
    got = fast(*operands)
    expected = plain(*operands)
    torch.testing.assert_close(got, expected)
    gradients = torch.autograd.grad(got.square().sum(), operands)
    expected_gradients = torch.autograd.grad(expected.square().sum(), operands)
    assert_all_close(gradients, expected_gradients, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(fast(*operands), expected)


def test_the_switch_chooses_the_path(operands):
    operands[0] = operands[0][0]
    fast = linear(*operands)
    with use_fast_paths(False):
        plain = linear(*operands)
    assert type(plain.grad_fn) is type(plain_linear(*operands).grad_fn)
    assert type(fast.grad_fn) is not type(plain.grad_fn)


def test_mlp_equals_torch_with_its_gradients():
    torch.manual_seed(0)
    first = nn.Linear(24, 40)
    second = nn.Linear(40, 24)
    x = torch.randn(5, 24, requires_grad=True)
    inputs = [x, *first.parameters(), *second.parameters()]
    results = []
    for function in (mlp, plain_mlp):
        y = function(x, first, second)
        with torch.no_grad():
            inferred = function(x, first, second)
        results.append([y, inferred, *torch.autograd.grad(y.square().sum(), inputs)])
    assert_all_close(*results, rtol=1e-4, atol=1e-5)


def test_second_derivatives_equal_torchs(operands):

    def second_derivatives(y):
        (gradient,) = torch.autograd.grad(y.square().mean(), operands[0], create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), operands[:2])

    fast, plain = PAIRS['gelu before']
    got = second_derivatives(fast(*operands))
    assert_all_close(got, second_derivatives(plain(*operands)), rtol=1e-4, atol=1e-5)


def test_only_required_gradients(operands):
    x, weight, bias = operands
    frozen_bias = bias.detach()
    linear(x.detach(), weight, frozen_bias).sum().backward()
    assert weight.grad is not None
    assert frozen_bias.grad is None


def test_a_relu_may_write_into_the_product(operands):
    results = []
    for function in (linear, F.linear):
        y = F.relu(function(*operands), inplace=True)
        results.append([y, *torch.autograd.grad(y.square().sum(), operands)])
    assert_all_close(*results, rtol=1e-4, atol=1e-4)


def test_no_tokens(operands):
    _, weight, bias = operands
    assert linear(torch.zeros(0, 24), weight, bias).shape == (0, 40)


def test_one_token_without_batch(operands):
    _, weight, bias = operands
    x = torch.randn(24, generator=torch.Generator().manual_seed(2), requires_grad=True)
    results = []
    for function in (linear, F.linear):
        y = function(x, weight, bias)
        results.append(torch.autograd.grad(y.square().sum(), (x, weight)))
    assert_all_close(*results)


@pytest.mark.parametrize('name', PAIRS)
def test_autocast_decides_the_type(operands, name):
    fast, plain = PAIRS[name]
    with torch.autocast('cpu', torch.bfloat16):
        got = fast(*operands)
        with torch.no_grad():
            inferred = fast(*operands)
    assert got.dtype == inferred.dtype == torch.bfloat16
    expected = plain(*operands)
    torch.testing.assert_close(got.float(), expected, rtol=0.02, atol=0.2)
    torch.testing.assert_close(inferred.float(), expected, rtol=0.02, atol=0.2)
    gradients = torch.autograd.grad(got.float().mean(), operands)
    expected_gradients = torch.autograd.grad(expected.mean(), operands)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient, wanted, rtol=0.05, atol=1e-3)


def test_a_model_of_torchs_and_mmcvs_layers_keeps_its_parameters():
    model = nn.Sequential(nn.Linear(24, 40), nn.MultiheadAttention(40, 2), MMCVLinear(40, 8))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    expected = model[2](model[0](x))
    use_onednn(model)
    assert all(isinstance(layer, Linear) for layer in (model[0], model[1].out_proj, model[2]))
    torch.testing.assert_close(model[2](model[0](x)), expected)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights.pop(name), rtol=0, atol=0)
    assert not weights


@pytest.mark.parametrize('grad', [False, True])
def test_operations_are_counted(grad):
    layer = Linear(24, 40)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(grad):
        layer(torch.randn(3, 37, 24))
    assert counter.get_total_flops() == 2 * 3 * 37 * 24 * 40


TRANSFORMS = {
    'traced': torch.jit.trace,
    'compiled': lambda layer, x: torch.compile(layer, backend='eager', fullgraph=True),
    'per sample, as by users of torch.func': lambda layer, x: torch.func.vmap(layer),
}


@pytest.mark.parametrize('name', TRANSFORMS)
def test_transformed(operands, name):
    layer = Linear(24, 40)
    x = operands[0].detach()
    with torch.no_grad():
        transformed = TRANSFORMS[name](layer, x)
        torch.testing.assert_close(transformed(x), layer(x))
