"""Two stages: what the encoder proposes, which proposals become queries, and what is refused."""

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch
from helpers.configs import small_model_cfg
from helpers.host_reads import HostReads
from mmdet.registry import MODELS

from mmdet_setdet.errors import InputError
from mmdet_setdet.models.ground_truths import GroundTruths
from mmdet_setdet.models.layers import FeatureLevels

DINO = 'dino_r50_4scale_12e.py'
DN_DINO = 'dn_dino_r50_36e.py'
DEFORMABLE = 'deformable_detr_two_stage_r50_50e.py'
NAMES = [DINO, DN_DINO, DEFORMABLE]
BY_TRANSPORT = dict(proposal_assigner={})


def small_model(name, **changes):
    model = MODELS.build(small_model_cfg(name, **changes))
    return perturb_weights(model)


def test_cells_are_boxes_in_the_image():
    maps = [torch.rand(2, 3, 8, 10), torch.rand(2, 3, 4, 5)]
    levels = FeatureLevels.from_maps(maps, [(64, 80), (64, 40)], (64, 80))
    first, second = levels.split(levels.cell_boxes())
    assert first[..., 2:].eq(0.05).all()
    assert second[..., 2:].eq(0.1).all()
    torch.testing.assert_close(first[0, 0, :2], torch.tensor([0.05, 0.0625]))
    # The second image is half as wide: five cells of the first map, and beyond them is padding.
    torch.testing.assert_close(first[1, 0, :2], torch.tensor([0.1, 0.0625]))
    assert first[1, 4, 0] < 1 < first[1, 5, 0]
    is_padding = (levels.cell_boxes()[..., :2] > 1).any(-1)
    assert torch.equal(is_padding, levels.padding)


def test_a_centre_on_the_limit_is_on_it_whatever_the_padding():
    alone = FeatureLevels.from_maps([torch.rand(1, 3, 8, 50)])
    together = FeatureLevels.from_maps([torch.rand(2, 3, 8, 67)], [(64, 400), (64, 536)], (64, 536))
    assert torch.equal(alone.centres()[0, 0], together.centres()[0, 0])


@pytest.mark.parametrize('name', NAMES)
def test_the_best_proposals_are_the_queries(name):
    model = small_model(name).eval()
    inputs, samples = ragged_batch()
    with torch.no_grad():
        encoder_inputs, _ = model.pre_transformer(model.extract_feat(inputs), samples)
        outputs = model.forward_encoder(**encoder_inputs)
        memory, levels = outputs['memory'], outputs['levels']
        anchors, proposals = model.propose(memory, levels, is_trained=True)
        same_anchors, _ = model.propose(memory, levels, is_trained=False)
        queries, head_inputs = model.pre_decoder(**outputs)
    assert anchors.shape == (3, 20, 4)
    torch.testing.assert_close(same_anchors, anchors)
    assert torch.equal(queries['points' if name == DEFORMABLE else 'anchors'], anchors)
    assert head_inputs == {}, 'proposals are for the losses alone'

    assert proposals.is_binary == (name != DINO)
    num_trained = 20 if name == DINO else memory.shape[1]
    assert proposals.boxes.shape == (3, num_trained, 4)
    assert proposals.logits.shape == (3, num_trained, 80)
    if proposals.is_binary:
        best = proposals.logits[..., 0].topk(20, 1).indices[..., None]
        chosen = proposals.boxes.take_along_dim(best, 1)
        torch.testing.assert_close(chosen, anchors.sigmoid())
        # Whoever is outside proposes the corner, whatever its features are.
        outside = levels.padding
        assert outside.any()
        assert (proposals.boxes[outside] == 1).all()
    else:
        scores = proposals.logits.amax(-1)
        assert scores.diff(dim=1).max() <= 0, 'the best first'


@torch.no_grad()
def test_tokens_at_the_very_border_propose_nothing():
    model = small_model(DEFORMABLE).eval()
    levels = FeatureLevels.from_maps([torch.rand(1, 256, 100, 60)])
    _, proposals = model.propose(torch.randn(1, 6000, 256), levels, is_trained=True)
    is_nothing = (proposals.boxes == 1).all(-1).view(100, 60)
    expected = torch.zeros(100, 60, dtype=torch.bool)
    expected[[0, -1]] = True  # their centres are within a hundredth of the border
    expected[:, [0, -1]] = True
    assert torch.equal(is_nothing, expected)


def test_predicted_boxes_start_at_proposals_and_smaller_than_anchors():
    for name, first_bias in ((DEFORMABLE, 0.0), ('dn_plain_deformable_detr_r50_50e.py', -2.0)):
        model = MODELS.build(small_model_cfg(name))
        model.init_weights()
        for branch in model.bbox_head.reg_branches:
            assert not branch[-1].weight.any()
        bias = model.bbox_head.reg_branches[0][-1].bias
        assert bias.tolist() == [0, 0, first_bias, first_bias]


def test_matching_queries_of_proposals_are_told_from_denoising_ones():
    model = small_model(DN_DINO, learn_content=False)
    content = model.proposed_queries(torch.randn(3, 20, 4))['query']
    assert content[..., -1].eq(0).all()
    unknown = model.denoising.label_enc.weight[-1]
    torch.testing.assert_close(content[..., :-1], unknown.expand(3, 20, -1))


def peaks(scores, levels):
    """Which tokens (B, S) have no neighbour with a higher score, cell by cell."""
    is_peak = torch.zeros_like(scores, dtype=torch.bool)
    for level_scores, level_peaks, (height, width) in zip(
        levels.split(scores), levels.split(is_peak), levels.shapes
    ):
        rows = level_scores.unflatten(1, (height, width))
        for y in range(height):
            for x in range(width):
                around = rows[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                level_peaks[:, y * width + x] = rows[:, y, x] == around.amax((1, 2))
    return is_peak


@torch.no_grad()
@pytest.mark.parametrize('name', NAMES)
def test_with_an_assigner_of_their_own_peaks_of_the_proposals_are_the_queries(name):
    model = small_model(name, **BY_TRANSPORT).eval()
    inputs, samples = ragged_batch()
    encoder_inputs, _ = model.pre_transformer(model.extract_feat(inputs), samples)
    outputs = model.forward_encoder(**encoder_inputs)
    levels = outputs['levels']
    anchors, proposals = model.propose(outputs['memory'], levels, is_trained=True)
    same_anchors, _ = model.propose(outputs['memory'], levels, is_trained=False)
    torch.testing.assert_close(same_anchors, anchors)

    assert not proposals.is_binary
    scores = proposals.logits.amax(-1)
    assert scores.shape == outputs['memory'].shape[:2]
    is_peak = peaks(scores, levels)
    for image in range(3):
        candidates = scores[image].masked_fill(~is_peak[image], -torch.inf)
        best = candidates.topk(min(20, is_peak[image].sum())).indices
        expected = proposals.boxes[image, best]
        torch.testing.assert_close(anchors[image, : len(best)].sigmoid(), expected)


def test_proposals_learn_what_their_own_assigner_says():
    model = small_model(DINO, proposal_assigner=dict(k=3)).train()
    inputs, samples = ragged_batch()
    gts = GroundTruths.from_samples(samples)
    encoder_inputs, _ = model.pre_transformer(model.extract_feat(inputs), samples)
    outputs = model.forward_encoder(**encoder_inputs)
    _, proposals = model.propose(outputs['memory'], outputs['levels'], is_trained=True)

    logits, boxes = proposals.logits[None], proposals.boxes[None]
    matches = model.proposal_assigner.match(logits, boxes, gts)
    num_pairs = len(matches.pred)
    assert gts.total < num_pairs <= 3 * gts.total
    losses = model.bbox_head.loss_by_layer(logits, boxes, gts, matches, num_pairs)
    states = dict(hidden_states=torch.randn(2, 3, 20, 256), references=torch.rand(2, 3, 20, 4))
    logged = model.bbox_head.loss(gts, proposals=proposals, **states)
    expected = torch.stack(list(losses.values())).sum()
    torch.testing.assert_close(logged['loss_enc'], expected)


@pytest.mark.parametrize('counts', [(3, 0, 7), (0, 0, 0)], ids=str)
@pytest.mark.parametrize('changes', [{}, BY_TRANSPORT], ids=['', 'by transport'])
@pytest.mark.parametrize('name', NAMES)
def test_a_step_reaches_every_parameter(name, changes, counts):
    model = small_model(name, **changes).train()
    inputs, samples = ragged_batch(counts)
    losses = model.loss(inputs, samples)
    expected = {'loss_cls', 'loss_bbox', 'loss_iou', 'loss_aux', 'loss_enc'}
    assert losses.keys() == (expected if name == DEFORMABLE else expected | {'loss_dn'})
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    without = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, 'several processes wait for each other where a parameter gets no gradient'
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(('name', 'num_copies'), [(DINO, 1), (DEFORMABLE, 2)])
def test_copies_to_the_host_in_a_training_step(name, num_copies):
    """DINO matches its proposals together with the decoder layers; Deformable DETR matches all tokens by themselves."""
    model = small_model(name).train()
    inputs, samples = ragged_batch()
    with HostReads() as reads:
        model.loss(inputs, samples)
    ours = [read for read in reads.seen if read[1].startswith('mmdet_setdet')]
    matching = 'mmdet_setdet.models.assignment.hungarian', 'assign_batch'
    assert ours == [('cpu', *matching), ('numpy', *matching)] * num_copies


def test_mixed_query_selection_learns_contents():
    model = small_model(DEFORMABLE, mixed_query_selection=True)
    anchors = torch.randn(3, 20, 4)
    queries = model.proposed_queries(anchors)
    learned = model.query_embedding.weight.expand(3, -1, -1)
    assert torch.equal(queries['query'], learned)
    assert queries['query_pos'].std() > 0.1


def test_look_forward_twice_lets_the_loss_reach_the_box_before():
    inputs, samples = ragged_batch()
    gradients = []
    for twice in (False, True):
        model = small_model(
            'deformable_detr_refine_r50_50e.py', **{'decoder.look_forward_twice': twice}
        )
        model.eval()
        boxes = model(inputs, samples, mode='tensor')[1]
        boxes[-1].sum().backward()
        gradients.append(model.bbox_head.reg_branches[0][-1].bias.grad)
    assert not gradients[0].any()
    assert gradients[1].abs().min() > 0


def test_denoising_in_two_stages_starts_from_noised_boxes():
    model = small_model(DEFORMABLE, denoising=dict(num_groups=2, contrastive=True)).train()
    inputs, samples = ragged_batch()
    gts = GroundTruths.from_samples(samples)
    noised = model.denoising(gts)
    assert torch.equal(model.noised_queries(noised)['points'], noised.anchors)
    losses = model.loss(inputs, samples)
    assert losses['loss_dn'] > 0


@pytest.mark.parametrize('name', NAMES)
def test_fewer_cells_than_queries(name):
    model = small_model(name, num_queries=900).eval()
    inputs, samples = ragged_batch()
    with torch.no_grad():
        results = model.predict(inputs, samples)
    assert all(result.pred_instances.bboxes.isfinite().all() for result in results)


@pytest.mark.parametrize(
    ('name', 'changes', 'message'),
    [
        (
            DEFORMABLE,
            {'one_to_many': dict(num_queries=5)},
            'one_to_many needs queries with learned',
        ),
        (
            'dn_deformable_detr_r50_50e.py',
            BY_TRANSPORT,
            'proposal_assigner is for proposals of the encoder',
        ),
        (DINO, {'as_two_stage': False}, 'must be True for DINO'),
        (DINO, {'with_box_refine': False}, 'must be True for DINO'),
        ('dn_detr_r50_50e.py', {'as_two_stage': True}, 'has no predictors for proposals'),
    ],
)
def test_what_two_stages_do_not_support_is_said(name, changes, message):
    with pytest.raises(InputError, match=message):
        small_model(name, **changes)
