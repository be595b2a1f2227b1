"""Attention with a bias equals its formula by every kernel."""

import pytest
import torch

from mmdet_setdet.models.layers.fast import biased_attention, use_fast_paths


def formula(query, key, value, bias):
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1) @ value


@pytest.mark.parametrize('fast', [True, False])
@pytest.mark.parametrize('with_bias', [True, False])
def test_equals_its_formula_with_gradients(with_bias, fast):
    torch.manual_seed(0)
    query = torch.randn(5, 2, 9, 8, requires_grad=True)
    key = torch.randn(5, 2, 7, 8, requires_grad=True)
    value = torch.randn(5, 2, 7, 8, requires_grad=True)
    bias = torch.randn(2, 9, 7, requires_grad=True) if with_bias else None
    inputs = [query, key, value, bias] if with_bias else [query, key, value]
    results = []
    with use_fast_paths(fast):
        for function in (biased_attention, formula):
            attended = function(query, key, value, bias)
            with torch.no_grad():
                inferred = function(query, key, value, bias)
            results.append(
                [attended, inferred, *torch.autograd.grad(attended.square().sum(), inputs)]
            )
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
