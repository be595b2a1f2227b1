"""Noised gts as queries of Mask2Former."""

import pytest
import torch
from helpers.batches import ragged_batch
from helpers.configs import CONFIGS
from helpers.masks import add_masks
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_setdet.models.dense_heads.denoising_mask2former_head import (
    KnownTargets,
    boxes_around,
    hidden_cells,
)

CONFIG = CONFIGS / 'quickstart/dn_mask2former_r18_shapes.py'
# The beginnings of the names of the parameters that denoising adds.
ADDED = ('panoptic_head.denoising', 'panoptic_head.box_pos_head')


def batch(counts=(3, 0, 2)):
    inputs, samples = ragged_batch(counts)
    for sample in samples:
        sample.gt_instances.labels %= 6
    return inputs, add_masks(samples)


def mask2former(**changes):
    cfg = Config.fromfile(CONFIG).model
    cfg.panoptic_head.update(changes)
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model


@pytest.fixture(scope='module')
def model():
    return mask2former().train()


def targets_of(model, samples):
    instances = [sample.gt_instances for sample in samples]
    return model.panoptic_head.preprocess_gt(instances, [None] * len(samples))


def test_cells_that_a_box_does_not_touch_are_hidden():
    boxes = torch.tensor([[[0.5, 0.25, 0.4, 0.2], [0.99, 0.99, 0.0, 0.0]]])
    hidden = hidden_cells(boxes, (4, 5)).view(2, 4, 5)
    # The first spans 0.3 to 0.7 of five columns, 0.15 to 0.35 of four rows; the second is a point in the last cell.
    rows = [[1, 0, 0, 0, 1]] * 2 + [[1, 1, 1, 1, 1]] * 2
    assert hidden[0].int().tolist() == rows
    assert hidden[1].logical_not().nonzero().tolist() == [[3, 4]]


def test_no_query_is_left_without_a_key():
    boxes = torch.rand(4, 500, 4) * torch.tensor([1, 1, 0.1, 0.1])
    assert not hidden_cells(boxes, (3, 7)).all(-1).any()


def test_boxes_are_those_around_the_masks(model):
    _, samples = batch()
    gts = boxes_around(targets_of(model, samples))
    assert gts.counts == [3, 0, 2]
    for bboxes, sample in zip(gts.bboxes, samples):
        expected = sample.gt_instances.bboxes.round()
        assert torch.equal(bboxes[: len(expected)], expected)
    assert gts.scale[0, 0].tolist() == [160, 128, 160, 128], 'of the padded batch'


def test_padding_has_no_target(model):
    _, samples = batch()
    targets = targets_of(model, samples)
    gts = boxes_around(targets)
    noised = model.panoptic_head.denoising(gts)
    known = KnownTargets.of_batch(targets, gts, noised, num_classes=6)
    assert [len(of_image.masks) for of_image in known] == [15, 0, 10]
    labels, weights, masks, mask_weights, *_ = known[2].as_tuple()
    a, b = gts.labels[2, :2].tolist()
    assert labels.tolist() == [a, b, 6] * 5
    assert weights.tolist() == mask_weights.tolist() == [1, 1, 0] * 5
    assert torch.equal(masks[2], targets[2].masks[0].bool())


@torch.no_grad()
def test_matching_queries_do_not_see_the_noised_ones(model):
    inputs, samples = batch()
    head = model.panoptic_head
    features = model.extract_feat(inputs)
    expected = head(features, samples)
    noised = head.denoising(boxes_around(targets_of(model, samples)))
    with head.joined(noised, features[-1].shape[-2:]):
        joined = head(features, samples)
    num_joined = [logits.shape[1] for logits in joined[0]]
    assert num_joined == [20, 35, 35, 35], 'they join behind the first prediction'
    for ours, mmdets in zip(joined, expected):
        for of_layer, of_mmdet in zip(ours, mmdets):
            torch.testing.assert_close(of_layer[:, -20:], of_mmdet, atol=1e-4, rtol=1e-4)
    assert [logits.shape[1] for logits in head(features, samples)[0]] == [20] * 4, 'hooks are gone'


@torch.no_grad()
def test_groups_do_not_see_each_other(model):
    inputs, samples = batch()
    head = model.panoptic_head
    features = model.extract_feat(inputs)
    noised = head.denoising(boxes_around(targets_of(model, samples)))
    outputs = []
    for _ in range(2):
        with head.joined(noised, features[-1].shape[-2:]):
            outputs.append(head(features, samples)[0][-1])
        noised.content[:, :3] += 1  # the first group
    moved = (outputs[1] - outputs[0]).abs().amax((0, 2)) > 1e-5
    assert moved.nonzero().flatten().tolist() == [0, 1, 2]


@pytest.mark.parametrize('counts', [(3, 0, 2), (0, 0, 0)], ids=str)
def test_losses_are_mmdets_and_one_more(model, counts):
    losses = model.loss(*batch(counts))
    without = mask2former(denoising=None).train().loss(*batch(counts))
    assert losses.keys() - without.keys() == {'loss_dn'}
    assert all(loss.isfinite().all() for loss in losses.values())
    assert (losses['loss_dn'] > 0) == (sum(counts) > 0)


def test_noised_gts_train_their_parameters(model):
    model.zero_grad()
    model.loss(*batch())['loss_dn'].backward()
    added = [p for name, p in model.named_parameters() if name.startswith(ADDED)]
    assert len(added) == 5
    assert all(p.grad.any() for p in added)


@torch.no_grad()
def test_weights_and_results_are_mmdets(model):
    cfg = Config.fromfile(CONFIG).model
    cfg.panoptic_head.type = 'Mask2FormerHead'
    del cfg.panoptic_head['denoising']
    mmdets = MODELS.build(cfg).eval()
    state = {name: w for name, w in model.state_dict().items() if not name.startswith(ADDED)}
    mmdets.load_state_dict(state)
    [first, *_] = model.eval().predict(*batch())
    [expected, *_] = mmdets.predict(*batch())
    model.train()
    assert torch.equal(first.pred_instances.scores, expected.pred_instances.scores)
    assert torch.equal(first.pred_instances.masks, expected.pred_instances.masks)
