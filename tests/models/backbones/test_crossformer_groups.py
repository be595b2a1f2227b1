"""Which tokens CrossFormer's blocks let attend to each other."""

import pytest
import torch
import torch.nn.functional as F
from golden import crossformer_cases as cases
from helpers.crossformer import small

from mmdet_setdet.models.backbones.crossformer.groups import Groups, axis_groups, relative_positions


@pytest.mark.parametrize(
    ('interval', 'expected'),
    [
        (1, [[[0, 1], [2, 3], [4, 5]], [[6]]]),
        (2, [[[0, 2], [1, 3]], [[4, 6]], [[5]]]),
    ],
)
def test_the_example_of_the_docstring(interval, expected):
    assert [groups.tolist() for groups in axis_groups(7, 2, interval)] == expected


@pytest.mark.parametrize(
    ('length', 'size', 'interval', 'shift'),
    [
        (56, 7, 8, 0),
        (50, 7, 8, 0),
        (10, 7, 8, 0),
        (3, 7, 1, 0),
        (17, 7, 1, 3),
        (14, 7, 1, 0),
        (1, 4, 2, 0),
    ],
)
def test_groups_hold_every_position_once(length, size, interval, shift):
    groups = axis_groups(length, size, interval, shift)
    positions = torch.cat([group.flatten() for group in groups])
    assert positions.sort().values.equal(torch.arange(length))
    for group in groups:
        assert group.shape[1] <= size
        assert (group.diff(dim=1) == interval).all()
    if not shift:
        assert len({group.shape[1] for group in groups}) == len(groups)


def test_order_and_back():
    groups = Groups.of_map((2, 5, 7), 2, 2)
    other = Groups.of_map((2, 5, 7), 3)
    tokens = torch.randn(70, 4)
    arranged = groups.arrange(tokens)
    assert groups.restore(arranged).equal(tokens)
    assert groups.arrange(other.arrange(tokens), other).equal(arranged)
    assert groups.arrange(arranged, groups) is arranged


@pytest.mark.parametrize('max_tokens', [1, 9, 1000])
def test_chunks_are_cut_between_groups(max_tokens):
    groups = Groups.of_map((2, 5, 7), 2, 2)
    total = 0
    for [(index, count, rows, columns)] in groups.chunks(max_tokens):
        assert (rows, columns) == groups.shapes[index][1:]
        size = count * rows * columns
        assert size <= max(max_tokens, rows * columns)
        total += size
    assert total == 70


def test_without_a_limit_there_is_one_chunk():
    groups = Groups.of_map((2, 5, 7), 2, 2)
    [chunk] = groups.chunks()
    assert [shape for _, *shape in chunk] == [list(shape) for shape in groups.shapes]


def test_drop_path_drops_whole_images():
    groups = Groups.of_map((3, 10, 10), 4, 2)
    torch.manual_seed(0)
    draws = [groups.restore(groups.drop_path_scale(0.4)) for _ in range(200)]
    scale = torch.stack(draws).view(200, 3, 100)
    assert (scale == scale[..., :1]).all()
    assert scale.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert scale.mean().item() == pytest.approx(1, abs=0.1)


def test_relative_positions():
    differences, pairs = relative_positions(2, 3)
    positions = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    expected = positions[:, None] - positions
    assert differences[pairs].equal(expected.float())


def masked_attention(block, x, size, interval, bias):
    """Attention of one head on maps (B, H, W, C) padded to whole groups, with padding masked, as the authors do.

    A padded axis is (spans, members, interval); members of a span with the same place in the interval are a group.
    """
    images, height, width, dims = x.shape
    span = size * interval
    missing_rows = -height % span
    missing_columns = -width % span
    valid = torch.ones(images, height, width, 1)
    padding = (0, 0, 0, missing_columns, 0, missing_rows)
    padded = F.pad(torch.cat([block.norm1(x), valid], -1), padding)

    tall, wide = padded.shape[1:3]
    split = padded.view(
        images, tall // span, size, interval, wide // span, size, interval, dims + 1
    )
    to_groups = (
        0,
        1,
        4,
        3,
        6,
        2,
        5,
        7,
    )  # images, spans, places in the interval | members | channels
    groups = split.permute(to_groups)
    tokens = groups.reshape(-1, size * size, dims + 1)

    query, key, value = block.attn.qkv(tokens[..., :dims]).chunk(3, -1)
    scores = query @ key.transpose(1, 2) / dims**0.5 + bias
    is_padding = tokens[:, None, :, dims] == 0
    weights = scores.masked_fill(is_padding, -1e6).softmax(-1)
    attended = block.attn.proj(weights @ value).view(*groups.shape[:-1], dims)

    to_map = sorted(range(8), key=to_groups.__getitem__)
    return attended.permute(to_map).reshape(images, tall, wide, dims)[:, :height, :width]


@torch.no_grad()
@pytest.mark.parametrize(('index', 'interval'), [(0, 1), (1, 3)])
def test_smaller_groups_at_the_border_equal_masked_padding(index, interval):
    torch.manual_seed(0)
    stage = small(group_sizes=(5, 5, 5, 5), intervals=(3, 2, 2, 1)).layers[0]
    block = stage.blocks[index]
    x = torch.randn(2, 17, 13, 32)
    relative = (stage.differences, stage.pairs)
    bias = block.attn.pos(stage.differences)[stage.pairs, 0]
    expected = x + masked_attention(block, x, 5, interval, bias)
    hidden = F.gelu(block.mlp.fc1(block.norm2(expected)))
    expected = expected + block.mlp.fc2(hidden)

    groups = Groups.of_map(x.shape[:3], 5, interval)
    tokens = stage.run_block(block, groups.arrange(x.view(-1, 32)), groups, relative)
    torch.testing.assert_close(groups.restore(tokens).view(x.shape), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ('options', 'side'),
    [
        (dict(attention='short'), 4),
        (dict(attention='swin'), 6),
        (dict(attention='short-long'), 12),
        (dict(attention='short-long-map'), 24),
        (dict(attention='pvt', position='none'), 24),
    ],
    ids=str,
)
def test_a_changed_pixel_reaches_its_groups_alone(options, side):
    """The corner of a map of 24 x 24 tokens, through a block of short and one of long distance, G = 4, I = 3."""
    arch = dict(embed_dims=32, depths=(2,), group_sizes=(4,), intervals=(3,))
    model = small(arch=arch, out_indices=(0,), patch_sizes=(4,), **options)
    x = cases.images((96, 96), 1)
    changed = x.clone()
    changed[..., :4, :4] += 1
    difference = model(x)[0] - model(changed)[0]
    is_reached = difference.abs().amax((0, 1)) > 1e-6
    assert is_reached[:side, :side].all()
    assert is_reached.sum() == side**2
