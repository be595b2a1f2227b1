"""Our deformable attention against mmcv's module, by each of its ways of sampling."""

import pytest
import torch
from mmcv.ops import multi_scale_deform_attn
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    multi_scale_deformable_attn_pytorch,
)

from mmdet_setdet.models.layers.deformable_attention import DeformableAttention
from mmdet_setdet.models.layers.fast import deformable_sampling, use_fast_paths
from mmdet_setdet.models.layers.fast.deformable_sampling import has_compiled_operator
from mmdet_setdet.registry import MODELS

SHAPES = [(8, 16), (4, 8), (3, 5)]
TOKENS = sum(h * w for h, w in SHAPES)


def both_modules(**options):
    """Ours and mmcv's with the same random weights."""
    options = (
        dict(embed_dims=16, num_heads=2, num_levels=3, num_points=4, batch_first=True) | options
    )
    ours = MODELS.build(dict(type='mmdet_setdet.DeformableAttention', **options))
    mmcvs = MultiScaleDeformableAttention(**options)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    mmcvs.load_state_dict(ours.state_dict())
    return ours.eval(), mmcvs.eval()


def make_inputs(reference_dims=4, queries=7, batch_first=True):
    """Keyword arguments of both modules; some tokens are padding."""
    inputs = dict(
        query=torch.randn(2, queries, 16),
        value=torch.randn(2, TOKENS, 16),
        query_pos=torch.randn(2, queries, 16),
        identity=torch.randn(2, queries, 16),
    )
    if not batch_first:
        inputs = {name: x.transpose(0, 1) for name, x in inputs.items()}
    padding = torch.zeros(2, TOKENS, dtype=torch.bool)
    padding[1, ::5] = True
    return dict(
        inputs,
        reference_points=torch.rand(2, queries, 3, reference_dims),
        key_padding_mask=padding,
        level_start_index=torch.tensor([0, 128, 160]),
    )


def output_and_gradients(module, inputs, shapes):
    differentiated = {}
    for name in ('query', 'value', 'reference_points'):
        differentiated[name] = inputs[name].clone().requires_grad_()
    output = module(**{**inputs, **differentiated}, spatial_shapes=shapes)
    return [
        output,
        *torch.autograd.grad(
            output.square().sum(), [*differentiated.values(), *module.parameters()]
        ),
    ]


@pytest.mark.parametrize('fast', [True, False])
@pytest.mark.parametrize('reference_dims', [2, 4])
@pytest.mark.parametrize('batch_first', [True, False])
def test_module_equals_mmcvs(reference_dims, batch_first, fast):
    ours, mmcvs = both_modules(batch_first=batch_first)
    inputs = make_inputs(reference_dims, batch_first=batch_first)
    with use_fast_paths(fast):
        results = output_and_gradients(ours, inputs, SHAPES)
    for got, expected in zip(
        results, output_and_gradients(mmcvs, inputs, torch.tensor(SHAPES)), strict=True
    ):
        largest = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * largest)


def test_shapes_may_be_a_tensor_and_the_value_the_query():
    ours, mmcvs = both_modules()
    tokens = torch.randn(2, TOKENS, 16)
    inputs = dict(reference_points=torch.rand(2, TOKENS, 3, 2), spatial_shapes=torch.tensor(SHAPES))
    torch.testing.assert_close(ours(tokens, **inputs), mmcvs(tokens, **inputs), rtol=0, atol=1e-5)


@pytest.mark.parametrize('width', [100, 1000])
def test_autocast_computes_points_in_float32(width):
    """In bfloat16 a point near column 1000 would be off by pixels, and so would be the value that is read there."""
    ours, _ = both_modules(num_levels=1, num_points=1)
    with torch.no_grad():
        ours.sampling_offsets.weight.zero_()
        ours.sampling_offsets.bias.fill_(1.0)
    value = torch.arange(width, dtype=torch.float32).remainder(7)
    value = value[None, :, None].repeat(1, 1, 16)
    inputs = dict(
        query=torch.randn(1, 50, 16),
        value=value,
        reference_points=torch.rand(1, 50, 1, 2),
        spatial_shapes=[(1, width)],
    )
    exact = ours(**inputs)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rounded = ours(**inputs)
    assert (exact - rounded).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize(
    ('reference_dims', 'shapes', 'message'),
    [
        (4, SHAPES[:2], 'levels'),
        (4, [(8, 16), (4, 8), (2, 5)], '170 tokens, but value has 175'),
        (3, SHAPES, 'got 3 numbers'),
    ],
)
def test_wrong_shapes_are_named(reference_dims, shapes, message):
    ours, _ = both_modules()
    with pytest.raises(ValueError, match=message):
        ours(**make_inputs(reference_dims), spatial_shapes=shapes)


class Operator:
    """Stands for mmcv's operator on a build that has it; ``error`` and ``offset`` make it fail."""

    def __init__(self, error=None, offset=0.0):
        self.error = error
        self.offset = offset
        self.calls = 0

    def apply(self, value, shapes, starts, points, weights, step):
        self.calls += 1
        if self.error:
            raise self.error
        tokens = [h * w for h, w in shapes.tolist()]
        assert starts.tolist() == [sum(tokens[:level]) for level in range(len(tokens))]
        return multi_scale_deformable_attn_pytorch(value, shapes, points, weights) + self.offset


MISSING = RuntimeError('ms_deform_attn_impl_forward: implementation for device cuda:0 not found.')


@pytest.mark.parametrize(
    ('operator', 'calls'),
    [
        (Operator(), 3),
        (Operator(error=MISSING), 1),
        (Operator(offset=1.0), 1),
    ],
)
def test_mmcvs_operator_is_tried_once_and_used_where_it_works(monkeypatch, operator, calls):
    ours, mmcvs = both_modules()
    inputs = make_inputs()
    expected = mmcvs(**inputs, spatial_shapes=torch.tensor(SHAPES))
    monkeypatch.setattr(deformable_sampling, 'MultiScaleDeformableAttnFunction', operator)
    has_compiled_operator.cache_clear()
    try:
        with use_fast_paths(True):
            for _ in range(2):
                torch.testing.assert_close(
                    ours(**inputs, spatial_shapes=SHAPES), expected, rtol=0, atol=1e-5
                )
    finally:
        has_compiled_operator.cache_clear()
    assert operator.calls == calls


def test_importing_changes_nothing_in_mmcv():
    assert multi_scale_deform_attn.MultiScaleDeformableAttention is MultiScaleDeformableAttention
    assert DeformableAttention.__mro__[1] is MultiScaleDeformableAttention
