"""Attention by batched products equals the fused kernel in all but time."""

import pytest
import torch

from mmdet_setdet.models.layers.fast import attention, use_fast_paths

TOLERANCE = {
    torch.float32: dict(rtol=1e-4, atol=1e-5),
    torch.bfloat16: dict(rtol=0.05, atol=0.02),
}


@pytest.fixture(autouse=True)
def fast_paths():
    with use_fast_paths(True):
        yield


def operands(dtype=torch.float32, queries=9, keys=7):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3, queries, 8), (2, 3, keys, 8), (2, 3, keys, 4))
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def formula(query, key, value, allowed=None):
    scores = query.float() @ key.float().transpose(-2, -1) / query.shape[-1] ** 0.5
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float('-inf'))
    return scores.softmax(-1) @ value.float()


MASKS = {
    'none': lambda: None,
    'by pair': lambda: torch.eye(9, 7, dtype=torch.bool) | (torch.arange(7) < 2),
    'by key of an image': lambda: torch.arange(7) < torch.tensor([7, 4]).view(2, 1, 1, 1),
}


@pytest.mark.parametrize('fast', [True, False])
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('mask', MASKS)
def test_equals_its_formula_with_gradients(mask, dtype, fast):
    inputs = operands(dtype)
    allowed = MASKS[mask]()
    with use_fast_paths(fast):
        attended = attention(*inputs, allowed)
        with torch.no_grad():
            inferred = attention(*inputs, allowed)
    expected = formula(*inputs, allowed)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad((attended.float() * weights).sum(), inputs)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), inputs)
    results = [attended, inferred, *gradients]
    for got, wanted in zip(results, [expected, expected, *expected_gradients], strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), wanted.float(), **TOLERANCE[dtype])


def is_fused(inputs) -> bool:
    """Look into the profile of a forward pass for torch's fused kernel."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        attention(*inputs)
    return any('scaled_dot_product' in event.key for event in profile.key_averages())


def test_the_kernel_follows_type_and_size():
    half = operands(torch.bfloat16)
    single = operands()
    # 2 x 3 x 500 x 500 scores are more than 2^20; one dimension is as good as eight.
    large = [operand.detach()[..., :1] for operand in operands(queries=500, keys=500)]
    assert not is_fused(half)
    assert is_fused(single)
    with torch.no_grad():
        assert not is_fused(single)
        assert is_fused(large)
    with torch.autocast('cpu', torch.bfloat16):
        assert not is_fused(single)
        assert attention(*single).dtype == torch.bfloat16
    with use_fast_paths(False):
        assert is_fused(half)


def test_dropped_weights_are_zero_and_the_others_doubled():
    query, key, _ = operands(torch.bfloat16)
    identity = torch.eye(7, dtype=torch.bfloat16).expand(
        2, 3, 7, 7
    )  # so that the output is the weights
    torch.manual_seed(0)
    weights = attention(query, key, identity)
    dropped = attention(query, key, identity, dropout=0.5)
    kept = dropped != 0
    assert 0.35 < kept.float().mean() < 0.65
    torch.testing.assert_close(dropped[kept], 2 * weights[kept], rtol=0.02, atol=0)
