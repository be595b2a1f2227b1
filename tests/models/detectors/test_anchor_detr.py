"""Anchor DETR's row-column attention and its queries; tests/parity compares the whole with the authors' code."""

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch
from helpers.configs import small_model_cfg
from mmdet.registry import MODELS

from mmdet_setdet.errors import InputError
from mmdet_setdet.models.ground_truths import GroundTruths
from mmdet_setdet.models.layers import FeatureLevels, RowColumnAttention

CONFIG = 'dn_anchor_detr_r50_50e.py'


@pytest.fixture(scope='module')
def model():
    return perturb_weights(MODELS.build(small_model_cfg(CONFIG))).train()


def softmax(query, key):
    """Attention weights of queries and keys of eight numbers, one head."""
    return (query @ key.mT / 8**0.5).softmax(-1)


@pytest.mark.parametrize('size', [(3, 5), (5, 3)], ids=str)
@torch.no_grad()
def test_the_weight_of_a_cell_is_that_of_its_column_times_that_of_its_row(size):
    height, width = size
    attention = RowColumnAttention(embed_dims=8, num_heads=1)
    query, query_pos = torch.randn(1, 2, 8), torch.randn(1, 2, 16)
    tokens = torch.randn(1, height, width, 8)
    y = torch.randn(1, height, 1, 8).expand(-1, -1, width, -1)
    x = torch.randn(1, 1, width, 8).expand(-1, height, -1, -1)
    levels = FeatureLevels.from_maps([tokens.permute(0, 3, 1, 2)])
    output = attention(
        query, tokens.flatten(1, 2), query_pos, torch.cat([y, x], -1).flatten(1, 2), levels
    )

    w_qx, w_qy, w_kx, w_ky, w_v = attention.in_proj_weight.mT.split(8, 1)
    query_y, query_x = query_pos.chunk(2, -1)
    columns = softmax((query + query_x) @ w_qx, (tokens + x).mean(1) @ w_kx)
    rows = softmax((query + query_y) @ w_qy, (tokens + y).mean(2) @ w_ky)
    expected = torch.zeros(1, 2, 8)
    for row in range(height):
        for column in range(width):
            weight = rows[..., row] * columns[..., column]
            value = tokens[:, row, column] @ w_v
            expected += weight[..., None] * value[:, None]
    torch.testing.assert_close(output, query + attention.out_proj(expected), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_every_pattern_is_tried_at_every_point(model):
    queries = model.matching_queries(batch_size=2)
    points, content = queries['anchors'], queries['query']
    assert points.shape == (2, 60, 2)
    for pattern in range(3):
        at = slice(20 * pattern, 20 * pattern + 20)
        assert torch.equal(points[0, at], model.query_embedding.weight)
        assert (content[:, at] == content[:, at.start, None]).all()
    assert not torch.equal(content[0, 0], content[0, 20])


def test_points_start_in_the_image():
    model = MODELS.build(small_model_cfg('anchor_detr_r50_50e.py'))
    model.init_weights()
    points = model.query_embedding.weight
    assert points.min() >= 0
    assert points.max() <= 1
    assert points.std() > 0.2
    assert model.bbox_head.fc_reg.bias.tolist() == [0, 0, -2, -2]


@torch.no_grad()
def test_a_noised_centre_is_the_point_and_a_size_has_no_place(model):
    gts = GroundTruths.from_samples(ragged_batch()[1])
    noised = model.denoising(gts)
    queries = model.noised_queries(noised)
    centres = noised.anchors[..., :2].sigmoid()
    assert torch.equal(queries['anchors'], centres)
    noised.anchors[..., 2:] += 1
    assert torch.equal(model.noised_queries(noised)['anchors'], centres)
    assert torch.equal(queries['query'], noised.content)


@pytest.mark.parametrize(
    'changes', [{'num_feature_levels': 2}, {'positional_encoding.num_feats': 128}]
)
def test_sizes_that_do_not_fit_are_named(changes):
    with pytest.raises(InputError, match='AnchorDETR needs 1 and 256'):
        MODELS.build(small_model_cfg(CONFIG, **changes))
