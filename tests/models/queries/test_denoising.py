"""Denoising: the noise against the paper's formulas, who sees whom, and images without objects."""

import inspect

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch, random_samples
from helpers.configs import small_model_cfg
from mmdet.models.layers.transformer import CdnQueryGenerator
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy

from mmdet_setdet.models.ground_truths import GroundTruths
from mmdet_setdet.models.queries import BoxPosition, Denoising, DINODenoising

FAMILIES = [
    'dn_detr_r50_50e.py',
    'dn_deformable_detr_r50_50e.py',
    'dn_deformable_detr_encoder_r50_50e.py',
    'dn_vanilla_detr_r50_50e.py',
    'dn_conditional_detr_r50_50e.py',
    'dn_plain_deformable_detr_r50_50e.py',
    'dn_anchor_detr_r50_50e.py',
]
CONTRASTIVE = dict(num_queries=40, contrastive=True, box_noise_scale=1.0)


def ground_truths(counts, num_classes=80):
    sizes = [(96, 128)] * len(counts)
    return GroundTruths.from_samples(random_samples(sizes, (96, 128), counts, num_classes))


def dn_model(name='dn_detr_r50_50e.py', **changes):
    return perturb_weights(MODELS.build(small_model_cfg(name, **changes)))


@pytest.mark.parametrize('scale', [0.4, 1.0])
def test_box_noise_is_even_and_as_wide_as_the_paper_says(scale):
    box = torch.tensor([0.5, 0.5, 0.2, 0.4])
    noised = (
        Denoising(80, 16, box_noise_scale=scale).noise_boxes(box.expand(20, 2000, 4)).flatten(0, 1)
    )
    reach = scale * torch.tensor([0.2 / 2, 0.4 / 2, 0.2, 0.4])
    shift = (noised - box) / reach
    assert shift.abs().max() <= 1 + 1e-5
    assert shift.min(0).values.max() < -0.99
    assert shift.max(0).values.min() > 0.99
    torch.testing.assert_close(shift.mean(0), torch.zeros(4), atol=0.02, rtol=0)
    torch.testing.assert_close(shift.std(0), torch.full((4,), 3**-0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.corrcoef(shift.t()), torch.eye(4), atol=0.03, rtol=0)


def test_noised_boxes_stay_in_the_image():
    box = torch.tensor([0.95, 0.05, 0.9, 0.98]).expand(1, 5000, 4)
    noised = Denoising(80, 16, box_noise_scale=1.0).noise_boxes(box)
    assert noised.min() == 0
    assert noised.max() == 1


def test_noised_corners_stay_in_the_image():
    box = torch.tensor([0.1, 0.9, 0.2, 0.2]).expand(1, 5000, 4)
    is_negative = torch.arange(5000) % 2 == 1
    denoising = Denoising(80, 16, contrastive=True, box_noise_scale=1.0)
    corners = bbox_cxcywh_to_xyxy(denoising.noise_corners(box, is_negative))
    assert corners.min().item() == pytest.approx(0, abs=1e-6)
    assert corners.max().item() == pytest.approx(1, abs=1e-6)


def test_anchors_are_kept_from_0_and_1_as_far_as_eps_says():
    gts = ground_truths((1,))
    gts.bboxes[:] = torch.tensor([0.0, 0, 128, 96])
    anchors = Denoising(80, 16, box_noise_scale=0.0, eps=0.05)(gts).anchors.sigmoid()
    torch.testing.assert_close(anchors[..., :2], torch.full((1, 5, 2), 0.5))
    torch.testing.assert_close(anchors[..., 2:], torch.full((1, 5, 2), 1 / 1.05))


@pytest.mark.parametrize('scale', [0.0, 0.2, 1.0])
def test_labels_are_replaced_at_the_given_rate_evenly(scale):
    labels = torch.full((10, 2000), 3)
    noised = Denoising(5, 16, label_noise_scale=scale).noise_labels(labels)
    share = torch.bincount(noised.flatten(), minlength=5) / labels.numel()
    expected = torch.full((5,), scale / 5)
    expected[3] += 1 - scale
    torch.testing.assert_close(share, expected, atol=0.015, rtol=0)


def test_sides_of_negative_queries_move_further():
    box = torch.tensor([0.5, 0.5, 0.2, 0.4]).expand(1, 20000, 4)
    is_negative = torch.arange(20000) % 2 == 1
    noised = Denoising(80, 16, contrastive=True, box_noise_scale=0.5).noise_corners(
        box, is_negative
    )
    half_sides = torch.tensor([0.1, 0.2, 0.1, 0.2])
    change = (bbox_cxcywh_to_xyxy(noised) - bbox_cxcywh_to_xyxy(box)) / half_sides
    positive, negative = change[:, ~is_negative], change[:, is_negative]
    for moved, least, most in ((positive, 0, 0.5), (negative, 0.5, 1)):
        distance = moved.abs()
        assert distance.min() >= least - 1e-5
        assert distance.max() <= most + 1e-5
        torch.testing.assert_close(
            distance.mean((0, 1)), torch.full((4,), (least + most) / 2), atol=0.01, rtol=0
        )
        torch.testing.assert_close(moved.mean((0, 1)), torch.zeros(4), atol=0.02, rtol=0)
        correlation = torch.corrcoef(moved[0].t())  # each side moves by itself
        torch.testing.assert_close(correlation, torch.eye(4), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ('counts', 'num_groups'), [((2, 0, 4), 5), ((1,), 20), ((30, 3), 1), ((0, 0), 5)]
)
def test_groups_share_a_number_of_queries(counts, num_groups):
    queries = Denoising(80, 16, **CONTRASTIVE)(ground_truths(counts))
    assert queries.num_groups == num_groups
    assert len(queries) == num_groups * 2 * max(counts)


def test_negative_queries_follow_the_positive_ones_and_match_nothing():
    denoising = Denoising(
        80, 16, num_groups=2, contrastive=True, label_noise_scale=0.0, box_noise_scale=1e-6
    )
    gts = ground_truths((2, 0, 4))
    queries = denoising(gts)
    assert queries.group_size == 8
    content = queries.content.unflatten(1, (2, 2, 4))
    labels = denoising.label_enc(gts.labels[2])
    for group in range(2):
        positive, negative = content[2, group]
        torch.testing.assert_close(positive[:, :-1], labels)
        torch.testing.assert_close(negative[:, :-1], denoising.label_enc.weight[80].expand(4, -1))
        assert not content[0, group, :, 2:].any(), 'padding'
    assert queries.blocked[0].tolist() == [False] * 8 + [True] * 8

    matches = queries.known_matches(gts, num_layers=3)
    assert len(matches.pred) == 3 * 2 * 6
    place_in_group = matches.pred % 8
    assert place_in_group.max() < 4
    boxes = queries.anchors.expand(3, -1, -1, -1).flatten(0, 2)[matches.pred].sigmoid()
    torch.testing.assert_close(boxes, gts.boxes.flatten(0, 1)[matches.gt], atol=2e-3, rtol=0)


def test_dino_embeds_classes_alone_and_noises_labels_half_as_often():
    denoising = DINODenoising(80, 16, group_cfg=dict(num_dn_queries=10000))
    assert dict(denoising.named_parameters()).keys() == {'label_embedding.weight'}
    assert denoising.label_embedding.weight.shape == (80, 16)
    gts = ground_truths((1,))
    content = denoising(gts).content[0].unflatten(0, (-1, 2))
    own = denoising.label_embedding.weight[gts.labels[0, 0]]
    is_replaced = (content != own).any(-1).float().mean(0)
    expected = torch.full((2,), 0.25 * 79 / 80)
    torch.testing.assert_close(is_replaced, expected, atol=0.015, rtol=0)
    static = DINODenoising(80, 16, group_cfg=dict(dynamic=False, num_groups=3))
    assert static(gts).num_groups == 3


def test_dinos_options_have_mmdets_defaults():
    ours, mmdets = (
        inspect.signature(kind).parameters for kind in (DINODenoising, CdnQueryGenerator)
    )
    for name in ('label_noise_scale', 'box_noise_scale', 'group_cfg'):
        assert ours[name].default == mmdets[name].default


@pytest.mark.parametrize('name', FAMILIES)
def test_contrastive_is_one_line_in_every_family(name):
    model = dn_model(name, denoising=CONTRASTIVE).train()
    inputs, samples = ragged_batch()
    loss = model.loss(inputs, samples)['loss_dn']
    assert loss > 0
    loss.backward()
    assert model.denoising.label_enc.weight.grad[80].any(), 'the label of negative queries'


def test_queries_hold_label_indicator_and_box():
    denoising = Denoising(
        80, 16, num_groups=3, label_noise_scale=0.0, box_noise_scale=0.0, eps=1e-6
    )
    gts = ground_truths((2, 0, 4))
    queries = denoising(gts)
    assert len(queries) == 12
    assert queries.content.shape == (3, 12, 16)
    assert queries.anchors.shape == (3, 12, 4)
    content, anchors = (x.unflatten(1, (3, 4)) for x in (queries.content, queries.anchors))
    for image, count in enumerate(gts.counts):
        labels, boxes = gts.labels[image, :count], gts.boxes[image, :count]
        for group in range(3):
            real, padded = content[image, group, :count], content[image, group, count:]
            torch.testing.assert_close(real[:, :-1], denoising.label_enc(labels))
            assert (real[:, -1] == 1).all()
            torch.testing.assert_close(
                anchors[image, group, :count].sigmoid(), boxes, atol=1e-5, rtol=1e-5
            )
            assert not padded.any()
            assert not anchors[image, group, count:].any()
    assert denoising.matching_content()[-1] == 0
    torch.testing.assert_close(denoising.matching_content()[:-1], denoising.label_enc.weight[80])


def test_groups_are_noised_differently_and_labels_stay_classes():
    queries = Denoising(80, 16, num_groups=5, box_noise_scale=0.4)(ground_truths((30, 30)))
    groups = queries.anchors.unflatten(1, (5, 30))
    assert (groups[:, 1:] != groups[:, :1]).float().mean() > 0.9


def test_known_matches_pair_each_query_with_its_gt():
    gts = ground_truths((2, 0, 4))
    queries = Denoising(80, 16, num_groups=3, box_noise_scale=0.0, eps=1e-6)(gts)
    matches = queries.known_matches(gts, num_layers=2)
    assert len(matches.pred) == 2 * 3 * 6
    assert matches.layer.bincount().tolist() == [18, 18]
    anchors = queries.anchors.expand(2, -1, -1, -1).flatten(0, 2)[matches.pred].sigmoid()
    torch.testing.assert_close(anchors, gts.boxes.flatten(0, 1)[matches.gt], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('name', FAMILIES)
def test_a_group_is_seen_by_itself_only(name):
    model = dn_model(name, **{'denoising.num_groups': 3})
    inputs, samples = ragged_batch((3, 1, 4))
    gts = GroundTruths.from_samples(samples)
    with torch.no_grad():
        encoder_inputs, memory_inputs = model.eval().pre_transformer(
            model.extract_feat(inputs), samples
        )
        encoder_outputs = model.forward_encoder(**encoder_inputs)
        queries, head_inputs = model.train().pre_decoder(**encoder_outputs, gts=gts)
        assert [len(group) for group in head_inputs['groups']] == [12]
        memory, mask = queries.pop('memory'), queries.pop('self_attn_mask')
        model.eval()  # dropout would change every query

        def changed(where):
            """Which queries come out differently when those at ``where`` change in all that makes a query."""
            moved = {key: value.clone() for key, value in queries.items()}
            for value in moved.values():
                value[:, where] += 0.5
            before, after = (
                model.forward_decoder(memory=memory, self_attn_mask=mask, **q, **memory_inputs)[
                    'hidden_states'
                ]
                for q in (queries, moved)
            )
            return ((before - after).abs().amax((0, 1, 3)) > 1e-5).tolist()

        for group in range(3):
            own = range(4 * group, 4 * group + 4)
            assert changed(list(own)) == [query in own for query in range(len(mask))]
        assert all(changed([12])), 'denoising queries see the matching ones'


@pytest.mark.parametrize('counts', [(3, 0, 7), (0, 0, 0)], ids=str)
@pytest.mark.parametrize('name', FAMILIES)
def test_images_without_objects_train(name, counts):
    model = dn_model(name).train()
    inputs, samples = ragged_batch(counts)
    losses = model.loss(inputs, samples)
    assert all(loss.isfinite() for loss in losses.values())
    assert (losses['loss_dn'] > 0) == (losses['loss_bbox'] > 0) == (sum(counts) > 0)
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, 'several processes wait for each other where a parameter gets no gradient'
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_an_empty_image_beside_changes_nothing_in_the_loss_of_denoising():
    model = dn_model(
        **{'denoising.label_noise_scale': 0.0, 'denoising.box_noise_scale': 0.0}
    ).train()
    inputs, samples = ragged_batch((3, 0, 3))
    both = model.loss(inputs[[0, 1]], samples[:2])['loss_dn']
    alone = model.loss(inputs[[0]], samples[:1])['loss_dn']
    torch.testing.assert_close(both, alone, atol=1e-4, rtol=1e-4)


def test_its_weight_weighs_its_loss():
    losses = []
    for weight in (0.5, 2.0):
        torch.manual_seed(0)
        model = dn_model(**{'denoising.loss_weight': weight}).train()
        losses.append(model.loss(*ragged_batch())['loss_dn'])
    torch.testing.assert_close(losses[1], 4 * losses[0])


def test_a_position_is_that_of_the_box_after_the_sigmoid():
    """Sides of nearly the whole image are equal, however large they are before it."""
    position = BoxPosition(16)
    anchors = torch.tensor([[[0.0, 0, 30, 30], [0, 0, 90, 90], [0, 0, 1, 1]]])
    whole, same, other = position(anchors)[0]
    torch.testing.assert_close(whole, same)
    assert (whole - other).abs().max() > 0.01


def test_denoising_is_off_at_inference():
    model = dn_model()
    inputs, samples = ragged_batch()
    gts = GroundTruths.from_samples(samples)
    memory = torch.zeros(3, 4, 256)
    assert len(model.train().pre_decoder(memory, gts)[1]['groups']) == 1
    queries, head_inputs = model.eval().pre_decoder(memory, gts)
    assert not head_inputs
    assert queries['self_attn_mask'] is None
    assert queries['query'].shape == (3, 20, 256)
    with torch.no_grad():
        assert 'loss_dn' not in model.loss(inputs, samples)


def test_without_denoising_it_is_dab_detr():
    dab, dn = dn_model(denoising=None), dn_model()
    result = dab.load_state_dict(dn.state_dict(), strict=False)
    assert result.unexpected_keys == ['denoising.label_enc.weight']
    assert not result.missing_keys
    assert not dab.matching_queries(2)['query'].any()
    inputs, samples = ragged_batch()
    with torch.no_grad():
        dn.denoising.label_enc.weight[-1] = 0
        got, expected = (m.eval()(inputs, samples, mode='tensor') for m in (dn, dab))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    'wrong',
    [
        dict(num_groups=0),
        dict(label_noise_scale=1.5),
        dict(label_noise_scale=-0.1),
        dict(box_noise_scale=-1.0),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        Denoising(80, 16, **wrong)
