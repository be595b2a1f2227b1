"""Deformable sampling by embedding_bag against mmcv's grid_sample: inside, on and beyond the border."""

import pytest
import torch

from mmdet_setdet.models.layers.fast.deformable_sampling import (
    plain_sample_levels,
    sample_by_embedding_bag,
)

SHAPES = [(8, 16), (4, 8), (3, 5)]


def assert_equals_grid_sample(shapes, locations, dtype=torch.float64, tolerance=1e-12):
    """Compare output and gradients of value, points and weights; locations are fractions of their level."""
    batch, queries, heads = locations.shape[:3]
    width = 4
    num_tokens = sum(h * w for h, w in shapes)
    sizes = torch.tensor([(w, h) for h, w in shapes])[:, None]
    value = torch.randn(batch, num_tokens, heads, width, dtype=dtype, requires_grad=True)
    points = (locations.to(dtype) * sizes - 0.5).requires_grad_()
    weights = torch.rand(locations.shape[:-1], dtype=dtype, requires_grad=True)
    upstream = torch.randn(batch, queries, heads * width, dtype=dtype)
    results = []
    for function in (sample_by_embedding_bag, plain_sample_levels):
        output = function(value, shapes, points, weights)
        results.append([output, *torch.autograd.grad(output, (value, points, weights), upstream)])
    for got, expected in zip(*results, strict=True):
        largest = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(got, expected, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_inside_and_outside(dtype, tolerance):
    locations = torch.rand(2, 30, 2, 3, 4, 2) * 2 - 0.5  # three in four lie beyond the border
    assert_equals_grid_sample(SHAPES, locations, dtype, tolerance)


def test_on_pixels_and_on_the_border():
    """There the derivative jumps; untrained offsets are whole pixels, so both must take the same side."""
    pixels = (torch.arange(-2, 10) + 0.5) / 8
    locations = torch.cartesian_prod(pixels, pixels).view(1, -1, 1, 1, 1, 2)
    locations = locations.expand(1, -1, 2, 1, 1, 2).contiguous()
    assert_equals_grid_sample([(8, 8)], locations)


@pytest.mark.parametrize('shapes', [[(1, 1)], [(1, 6), (5, 1)], [(4, 4), (1, 2), (1, 1)]])
def test_levels_may_be_one_pixel_wide(shapes):
    locations = torch.rand(2, 20, 2, len(shapes), 3, 2) * 2 - 0.5
    assert_equals_grid_sample(shapes, locations)


def test_the_example_of_the_docstring():
    value = torch.eye(6).view(1, 6, 1, 6)
    point = torch.tensor([1.25, 0.5]).view(1, 1, 1, 1, 1, 2)
    weight = torch.ones(1, 1, 1, 1, 1)
    shares = sample_by_embedding_bag(value, [(2, 3)], point, weight)
    assert shares.flatten().tolist() == [0, 0.375, 0.125, 0, 0.375, 0.125]


def test_points_that_are_nan_or_infinite_show_in_the_output():
    num_tokens = sum(h * w for h, w in SHAPES)
    value = torch.randn(1, num_tokens, 2, 4)
    weights = torch.ones(1, 3, 2, 3, 1)
    points = torch.ones(1, 3, 2, 3, 1, 2)
    points[0, 0] = float('nan')
    points[0, 1] = float('inf')
    output = sample_by_embedding_bag(value, SHAPES, points, weights)[0]
    assert output[0].isnan().all()
    assert (output[1] == 0).all()
    assert output[2].isfinite().all()
