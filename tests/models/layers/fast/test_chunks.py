"""Chunks of tokens and sums in memory at hand change no number."""

import pytest
import torch

from mmdet_setdet.models.layers.fast import (
    add_branch,
    chunks,
    map_chunks,
    tokens_in_cache,
    use_fast_paths,
)

SIZES = (4, 1, 5)
FACTORS = ((2.0,), (3.0,), (5.0,))


@pytest.fixture(params=[True, False], ids=['fast', 'plain'])
def fast_paths(request):
    with use_fast_paths(request.param):
        yield request.param


def multiply(x, factor):
    return x * factor


def expected_products(tokens):
    factors = torch.tensor([2.0] * 4 + [3.0] + [5.0] * 5)
    return tokens * factors[:, None]


@pytest.mark.usefixtures('fast_paths')
def test_chunks_equal_the_whole_with_gradients():
    tokens = torch.randn(10, 3, requires_grad=True)
    got = map_chunks(multiply, tokens, SIZES, FACTORS, donated=True)
    expected = expected_products(tokens)
    assert got.equal(expected)
    (gradient,) = torch.autograd.grad(got.square().sum(), tokens)
    (expected_gradient,) = torch.autograd.grad(expected.square().sum(), tokens)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize('grad', [False, True])
@pytest.mark.parametrize('donated', [False, True])
def test_tokens_are_overwritten_only_if_donated_and_without_gradients(fast_paths, donated, grad):
    tokens = torch.randn(10, 3)
    before = tokens.clone()
    with torch.set_grad_enabled(grad):
        got = map_chunks(multiply, tokens, SIZES, FACTORS, donated)
    assert got.equal(expected_products(before))
    overwritten = fast_paths and donated and not grad
    assert tokens.equal(got if overwritten else before)


@pytest.mark.usefixtures('fast_paths')
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('scaled', [False, True])
def test_sum_equals_torchs(scaled, dtype):
    x = torch.randn(6, 3, requires_grad=True)
    weight = torch.randn(3, 3, requires_grad=True)
    scale = torch.randn(6, 1) if scaled else None
    branch = (x.detach() @ weight).to(dtype)
    expected = x + (branch * scale.to(dtype) if scaled else branch)
    before = x.detach().clone()
    got = add_branch(x, (x.detach() @ weight).to(dtype), scale)
    torch.testing.assert_close(got, expected)
    assert x.equal(before)
    gradients = torch.autograd.grad(got.square().sum(), (x, weight))
    expected_gradients = torch.autograd.grad(expected.square().sum(), (x, weight))
    for a, b in zip(gradients, expected_gradients):
        torch.testing.assert_close(a, b)


def test_chunks_on_a_cpu_only(fast_paths):
    expected = chunks.CACHED_FLOATS * torch.get_num_threads() // 64 if fast_paths else None
    assert tokens_in_cache(torch.device('cpu'), 64) == expected
    assert tokens_in_cache(torch.device('meta'), 64) is None
