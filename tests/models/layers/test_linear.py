"""The linear layer by oneDNN is torch's own in all but time."""
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from mmdet_setdet.models.layers.linear import Linear, linear


@pytest.fixture
def operands():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in ((3, 37, 24), (40, 24), (40, ))]


def test_equals_torch_with_its_gradients(operands):
    ours, theirs = linear(*operands), F.linear(*operands)
    assert type(ours.grad_fn) is not type(theirs.grad_fn)  # it is another path
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    for got, expected in zip(*(torch.autograd.grad((y * weights).sum(), operands) for y in (ours, theirs))):
        torch.testing.assert_close(got, expected)


def test_second_derivatives_equal_torchs(operands):

    def penalty(y):
        gradient, = torch.autograd.grad(y.square().mean(), operands[0], create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), operands[:2])

    x, *parameters = operands
    for pair in zip(penalty(linear(*operands, gelu='before')), penalty(F.linear(F.gelu(x), *parameters))):
        torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('no_bias', [False, True])
@pytest.mark.parametrize('gelu', ['before', 'after'])
def test_gelu_with_and_without_gradients(operands, gelu, no_bias):
    operands[2] = None if no_bias else operands[2]
    x, *parameters = operands
    expected = F.linear(F.gelu(x), *parameters) if gelu == 'before' else F.gelu(F.linear(x, *parameters))
    got = linear(*operands, gelu=gelu)
    torch.testing.assert_close(got, expected)
    wanted = [operand for operand in operands if operand is not None]
    for pair in zip(*(torch.autograd.grad(y.square().sum(), wanted) for y in (got, expected))):
        torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(linear(*operands, gelu=gelu), expected)


def test_only_wanted_gradients(operands):
    x, weight, bias = operands
    linear(x.detach(), weight, bias.detach()).sum().backward()
    assert weight.grad is not None and bias.grad is None


def test_no_tokens_and_one_without_batch(operands):
    _, weight, bias = operands
    assert linear(torch.zeros(0, 24), weight, bias).shape == (0, 40)
    x = torch.randn(24, generator=torch.Generator().manual_seed(2), requires_grad=True)
    (got, expected) = (torch.autograd.grad(f(x, weight, bias).square().sum(), (x, weight)) for f in (linear, F.linear))
    for pair in zip(got, expected):
        torch.testing.assert_close(*pair)


def test_autocast_decides_the_type(operands):
    with torch.autocast('cpu', torch.bfloat16):
        assert linear(*operands).dtype == torch.bfloat16


def test_operations_are_counted():
    layer = Linear(24, 40)
    for grad in (False, True):
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(grad):
            layer(torch.randn(3, 37, 24))
        assert counter.get_total_flops() == 2 * 3 * 37 * 24 * 40


def test_traced_and_compiled(operands):
    layer = Linear(24, 40)
    x = operands[0].detach()
    with torch.no_grad():
        expected = layer(x)
        torch.testing.assert_close(torch.jit.trace(layer, x)(x), expected)
        torch.testing.assert_close(torch.compile(layer, backend='eager', fullgraph=True)(x), expected)
        # Per sample, as torch.func users do.
        torch.testing.assert_close(torch.func.vmap(layer)(x), expected)
