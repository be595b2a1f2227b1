"""Deformable attention against mmcv's torch path: values and gradients, inside, on and beyond the border."""
import pytest
import torch
from mmcv.ops import multi_scale_deform_attn
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttention, multi_scale_deformable_attn_pytorch

from mmdet_setdet.models.layers import deformable_attention
from mmdet_setdet.models.layers.deformable_attention import DeformableAttention, has_compiled_operator, sample_levels
from mmdet_setdet.registry import MODELS

SHAPES = [(8, 16), (4, 8), (3, 5)]
TOKENS = sum(h * w for h, w in SHAPES)


def both_ways(shapes, normalised, dtype=torch.float64, heads=2, width=4):
    """Output and gradients (value, points, weights) of ours and of mmcv's, the points given in [0, 1]."""
    batch, queries = normalised.shape[:2]
    value = torch.randn(batch, sum(h * w for h, w in shapes), heads, width, dtype=dtype, requires_grad=True)
    weights = torch.rand(normalised.shape[:-1], dtype=dtype, requires_grad=True)
    normalised = normalised.to(dtype).requires_grad_()
    size = torch.tensor([(w, h) for h, w in shapes])[:, None]
    up = torch.randn(batch, queries, heads * width, dtype=dtype)
    for output in (sample_levels(value, shapes, normalised * size - 0.5, weights),
                   multi_scale_deformable_attn_pytorch(value, torch.tensor(shapes), normalised, weights)):
        yield [output, *torch.autograd.grad(output, (value, normalised, weights), up)]


def assert_equal(pair, tolerance):
    for ours, theirs in zip(*pair, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * max(1., theirs.abs().max().item()))


@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_equals_mmcv_inside_and_outside(dtype, tolerance):
    points = torch.rand(2, 30, 2, 3, 4, 2) * 2 - 0.5  # three in four lie beyond the border
    assert_equal(both_ways(SHAPES, points, dtype), tolerance)


def test_equals_mmcv_on_pixels_and_on_the_border():
    """There the derivative jumps; untrained offsets are whole pixels, so both must take the same side."""
    at = (torch.arange(-2, 10) + 0.5) / 8
    points = torch.cartesian_prod(at, at).view(1, -1, 1, 1, 1, 2).expand(1, -1, 2, 1, 1, 2).contiguous()
    assert_equal(both_ways([(8, 8)], points), 1e-12)


@pytest.mark.parametrize('shapes', [[(1, 1)], [(1, 6), (5, 1)], [(4, 4), (1, 2), (1, 1)]])
def test_levels_may_be_one_pixel_wide(shapes):
    points = torch.rand(2, 20, 2, len(shapes), 3, 2) * 2 - 0.5
    assert_equal(both_ways(shapes, points), 1e-12)


def test_points_that_are_no_numbers_show_in_the_output():
    value, weights = torch.randn(1, TOKENS, 2, 4), torch.ones(1, 3, 2, 3, 1)
    points = torch.ones(1, 3, 2, 3, 1, 2)
    points[0, 0], points[0, 1] = float('nan'), float('inf')
    output = sample_levels(value, SHAPES, points, weights)
    assert output[0, 0].isnan().all() and (output[0, 1] == 0).all() and output[0, 2].isfinite().all()


def modules(**options):
    """Ours and mmcv's with the same random weights."""
    options = dict(embed_dims=16, num_heads=2, num_levels=3, num_points=4, batch_first=True) | options
    ours = MODELS.build(dict(type='mmdet_setdet.DeformableAttention', **options))
    theirs = MultiScaleDeformableAttention(**options)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    theirs.load_state_dict(ours.state_dict())
    return ours.eval(), theirs.eval()


def inputs(numbers=4, queries=7, batch_first=True):
    """Keyword arguments of both modules, some tokens being padding."""
    tokens = dict(query=torch.randn(2, queries, 16), value=torch.randn(2, TOKENS, 16),
                  query_pos=torch.randn(2, queries, 16), identity=torch.randn(2, queries, 16))
    padding = torch.zeros(2, TOKENS, dtype=torch.bool)
    padding[1, ::5] = True
    return dict(
        {key: x if batch_first else x.transpose(0, 1) for key, x in tokens.items()},
        reference_points=torch.rand(2, queries, 3, numbers),
        key_padding_mask=padding,
        level_start_index=torch.tensor([0, 128, 160]))


@pytest.mark.parametrize('numbers', [2, 4])
@pytest.mark.parametrize('batch_first', [True, False])
def test_module_equals_mmcvs(numbers, batch_first):
    results = []
    given = inputs(numbers, batch_first=batch_first)
    for module, shapes in zip(modules(batch_first=batch_first), (SHAPES, torch.tensor(SHAPES))):
        leaves = {key: given[key].clone().requires_grad_() for key in ('query', 'value', 'reference_points')}
        output = module(**{**given, **leaves}, spatial_shapes=shapes)
        (output**2).sum().backward()
        results.append([output, *(x.grad for x in leaves.values()), *(p.grad for p in module.parameters())])
    assert_equal(results, 1e-5)


def test_shapes_may_be_a_tensor_and_the_value_the_query():
    ours, theirs = modules()
    tokens, shapes = torch.randn(2, TOKENS, 16), torch.tensor(SHAPES)
    given = dict(reference_points=torch.rand(2, TOKENS, 3, 2), spatial_shapes=shapes)
    torch.testing.assert_close(ours(tokens, **given), theirs(tokens, **given), rtol=0, atol=1e-5)


@pytest.mark.parametrize('width', [100, 1000])
def test_autocast_computes_points_in_float32(width):
    """In bfloat16 a point near column 1000 would be off by pixels, and so would be what is found there."""
    ours, _ = modules(num_levels=1, num_points=1)
    with torch.no_grad():
        ours.sampling_offsets.weight.zero_()
        ours.sampling_offsets.bias.fill_(1.)
    value = torch.arange(width, dtype=torch.float32).remainder(7)[None, :, None].repeat(1, 1, 16)
    given = dict(query=torch.randn(1, 50, 16), value=value, reference_points=torch.rand(1, 50, 1, 2),
                 spatial_shapes=[(1, width)])
    exact = ours(**given)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rounded = ours(**given)
    assert (exact - rounded).abs().max() < 0.02 * exact.abs().max()


def test_wrong_shapes_are_named():
    ours, _ = modules()
    with pytest.raises(ValueError, match='levels'):
        ours(**inputs(), spatial_shapes=SHAPES[:2])
    with pytest.raises(ValueError, match='170 tokens, but value has 175'):
        ours(**inputs(), spatial_shapes=[(8, 16), (4, 8), (2, 5)])
    with pytest.raises(ValueError, match='got 3 numbers'):
        ours(**inputs(numbers=3), spatial_shapes=SHAPES)


class Operator:
    """Stands for mmcv's operator on a build that has it; ``error`` and ``offset`` make it fail."""

    def __init__(self, error=None, offset=0.):
        self.error, self.offset, self.calls = error, offset, 0

    def apply(self, value, shapes, starts, points, weights, step):
        self.calls += 1
        if self.error:
            raise self.error
        assert starts.tolist() == [sum(h * w for h, w in shapes[:level].tolist()) for level in range(len(shapes))]
        return multi_scale_deformable_attn_pytorch(value, shapes, points, weights) + self.offset


@pytest.mark.parametrize('operator, taken', [
    (Operator(), True),
    (Operator(error=RuntimeError('ms_deform_attn_impl_forward: implementation for device cuda:0 not found.')), False),
    (Operator(offset=1.), False),
])
def test_takes_mmcvs_operator_where_it_works(monkeypatch, operator, taken):
    ours, theirs = modules()
    given = inputs()
    expected = theirs(**given, spatial_shapes=torch.tensor(SHAPES))
    monkeypatch.setattr(deformable_attention, 'MultiScaleDeformableAttnFunction', operator)
    has_compiled_operator.cache_clear()
    try:
        for _ in range(2):
            torch.testing.assert_close(ours(**given, spatial_shapes=SHAPES), expected, rtol=0, atol=1e-5)
    finally:
        has_compiled_operator.cache_clear()
    assert operator.calls == (3 if taken else 1), 'tried once, then called for each batch or never again'


def test_importing_changes_nothing_in_mmcv():
    assert multi_scale_deform_attn.MultiScaleDeformableAttention is MultiScaleDeformableAttention
    assert DeformableAttention.__mro__[1] is MultiScaleDeformableAttention
