"""Feature levels, attention over them, and DN-Deformable-DETR's queries and heads."""

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch, random_samples
from helpers.configs import small_model_cfg
from mmdet.registry import MODELS

from mmdet_setdet.models.layers import ConditionalAttention, FeatureLevels, LevelAttention

BOTH, ENCODER = 'dn_deformable_detr_r50_50e.py', 'dn_deformable_detr_encoder_r50_50e.py'


def small_model(name, awake=True, **changes):
    model = MODELS.build(small_model_cfg(name, **changes))
    model.init_weights()
    return perturb_weights(model) if awake else model


def test_levels_know_what_is_padding():
    maps = [torch.rand(2, 3, *size) for size in ((8, 10), (4, 5), (2, 3))]
    sizes = [(64, 50), (40, 80)]
    levels = FeatureLevels.from_maps(maps, sizes, (64, 80))
    assert levels.shapes == [(8, 10), (4, 5), (2, 3)]
    padded = torch.ones(2, 64, 80)
    for image, (height, width) in zip(padded, sizes):
        image[:height, :width] = 0
    for index, (mask, shape) in enumerate(zip(levels.masks, levels.shapes)):
        reduced = torch.nn.functional.interpolate(padded[None], size=shape)[0].bool()
        assert torch.equal(mask, reduced)
        visible = torch.stack(
            [(~reduced[:, 0]).sum(1) / shape[1], (~reduced[:, :, 0]).sum(1) / shape[0]], 1
        )
        torch.testing.assert_close(levels.valid_ratios[:, index], visible)
    assert torch.equal(levels.padding, torch.cat([mask.flatten(1) for mask in levels.masks], 1))
    assert [part.shape[1] for part in levels.split(levels.padding)] == [80, 20, 6]

    at_home = [(range(80), 0), (range(80, 100), 1), (range(100, 106), 2)]
    points = levels.reference_points()
    for tokens, index in at_home:  # on its own level a token points to the centre of its cell
        height, width = levels.shapes[index]
        cell = points[:, tokens, index] * torch.tensor([width, height]) - 0.5
        expected = torch.tensor([[x, y] for y in range(height) for x in range(width)]).float()
        torch.testing.assert_close(cell, expected.expand(2, -1, -1), atol=1e-5, rtol=0)


@pytest.mark.parametrize('padded', [{}, dict(image_sizes=[(64, 80)] * 2, input_size=(64, 80))])
def test_levels_without_padding(padded):
    levels = FeatureLevels.from_maps([torch.rand(2, 3, 8, 10), torch.rand(2, 3, 4, 5)], **padded)
    assert levels.padding is None
    assert levels.masks == [None, None]
    assert torch.equal(levels.valid_ratios, torch.ones(2, 2, 2))


def test_a_query_that_wants_one_level_reads_that_level_only():
    attention = LevelAttention(embed_dims=16, num_heads=2, cross_attn=True)
    plain = ConditionalAttention(embed_dims=16, num_heads=2, cross_attn=True)
    plain.load_state_dict(attention.state_dict())
    levels = FeatureLevels.from_maps(
        [torch.rand(2, 16, 4, 5), torch.rand(2, 16, 2, 3)], [(32, 40), (20, 24)], (32, 40)
    )
    query, query_pos, sine = torch.randn(3, 2, 7, 16)
    key, key_pos = torch.randn(2, 2, 26, 16)
    for wanted, (keys, positions, mask) in enumerate(
        zip(*map(levels.split, (key, key_pos, levels.padding)))
    ):
        weights = torch.nn.functional.one_hot(torch.tensor(wanted), 2).float().expand(2, 7, 2)
        for first in (True, False):
            got = attention(
                query,
                key,
                weights,
                levels,
                query_pos,
                sine,
                key_pos,
                levels.padding,
                is_first=first,
            )
            expected = plain(
                query, keys, query_pos, sine, positions, key_padding_mask=mask, is_first=first
            )
            torch.testing.assert_close(got, expected)


def test_levels_are_mixed_by_their_weights():
    attention = LevelAttention(embed_dims=16, num_heads=2, cross_attn=True)
    levels = FeatureLevels.from_maps([torch.rand(2, 16, 4, 5), torch.rand(2, 16, 2, 3)])
    query, sine = torch.randn(2, 2, 7, 16)
    key, key_pos = torch.randn(2, 2, 26, 16)
    only = [torch.tensor([1.0, 0.0]).expand(2, 7, 2), torch.tensor([0.0, 1.0]).expand(2, 7, 2)]
    weights = torch.rand(2, 7, 2).softmax(-1)
    first, second, mixed = (
        attention(query, key, w, levels, query, sine, key_pos) for w in (*only, weights)
    )
    torch.testing.assert_close(mixed, weights[..., :1] * first + weights[..., 1:] * second)


def alone_and_together():
    """The feature maps of an image of 96 x 128 pixels, and these in the upper left of a larger batch full of noise."""
    alone = [torch.randn(1, 256, *size) for size in ((12, 16), (6, 8), (3, 4), (2, 2))]
    together = [torch.randn(2, 256, *size) * 3 for size in ((24, 32), (12, 16), (6, 8), (3, 4))]
    for batch, feat in zip(together, alone):
        batch[:1, :, : feat.shape[2], : feat.shape[3]] = feat
    return (
        (alone, random_samples([(96, 128)], (96, 128), [1])),
        (together, random_samples([(96, 128), (192, 256)], (192, 256), [1, 1])),
    )


def test_what_lies_in_the_padding_does_not_matter_to_the_encoder():
    model = small_model(BOTH).eval()
    tokens = []
    with torch.no_grad():
        for feats, samples in alone_and_together():
            inputs = model.pre_transformer(feats, samples)[0]
            memory = model.forward_encoder(**inputs)['memory'][0]
            tokens.append(
                memory if inputs['feat_mask'] is None else memory[~inputs['feat_mask'][0]]
            )
    torch.testing.assert_close(*tokens, atol=1e-4, rtol=1e-4)


def test_what_lies_in_the_padding_does_not_matter_to_level_attention():
    model = small_model(ENCODER).eval()
    with torch.no_grad():
        expected, got = (
            model.bbox_head(**model.forward_transformer(*case)) for case in alone_and_together()
        )
    for a, b in zip(got, expected):
        torch.testing.assert_close(a[:, :1], b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(('name', 'passes_on'), [(BOTH, False), (ENCODER, True)])
def test_whether_a_box_loss_reaches_the_layer_before(name, passes_on):
    model = small_model(name)
    inputs, samples = ragged_batch()
    states = model.forward_transformer(model.extract_feat(inputs), samples)
    references = states['references']
    assert references.requires_grad  # the first are the anchors
    model.zero_grad()
    references[1].sum().backward()
    gradient = model.decoder.layers[0].ffn.layers[1].weight.grad
    assert (gradient is not None and bool(gradient.any())) == passes_on


@pytest.mark.parametrize(('denoising', 'width'), [(True, 255), (False, 256)])
def test_each_query_has_a_content_of_its_own(denoising, width):
    model = small_model(BOTH, **({} if denoising else {'denoising': None}))
    assert model.tgt_embed.weight.shape == (20, width)
    content = model.matching_queries(2)['query']
    assert torch.equal(content[0], content[1])
    assert content[0].unique(dim=0).shape[0] == 20
    assert torch.equal(content[0, :, :width], model.tgt_embed.weight)
    assert not content[0, :, width:].any(), 'the indicator of matching queries is 0'


def test_without_level_embed_the_order_of_equal_levels_would_not_matter():
    model = small_model(BOTH).eval()
    feats = [torch.randn(1, 256, 4, 4) for _ in range(4)]
    feats[1] = feats[0]
    inputs = model.pre_transformer(feats)[0]
    first, second, *_ = inputs['levels'].split(inputs['feat_pos'])
    torch.testing.assert_close(
        second - first, (model.level_embed[1] - model.level_embed[0]).expand_as(first)
    )


def test_sampling_starts_as_a_star_and_boxes_near_their_anchors():
    model = small_model(BOTH, awake=False)
    for attention in (model.encoder.layers[0].self_attn, model.decoder.layers[1].cross_attn):
        assert not attention.sampling_offsets.weight.any()
        assert not attention.attention_weights.weight.any()
        reach = attention.sampling_offsets.bias.view(8, 4, 4, 2).abs().amax(-1)
        torch.testing.assert_close(reach, torch.arange(1.0, 5.0).expand(8, 4, 4))
    for classifier in model.bbox_head.cls_branches:
        torch.testing.assert_close(classifier.bias.sigmoid(), torch.full((80,), 0.01))
    inputs, samples = ragged_batch()
    with torch.no_grad():
        first, second = model.eval()(inputs, samples, mode='tensor')[1]
    anchors = model.query_embedding.weight.sigmoid()
    torch.testing.assert_close(
        first[..., :2], anchors[:, :2].expand_as(first[..., :2]), atol=2e-3, rtol=0
    )
    assert (first[..., 2:] < anchors[:, 2:]).all()
    torch.testing.assert_close(second, first, atol=2e-3, rtol=0)
