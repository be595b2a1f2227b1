"""HungarianAssigner against mmdet's, image by image and layer by layer, and what it does with costs of NaN."""
import itertools
import logging

import numpy as np
import pytest
import torch
from helpers.batches import random_samples
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData

from mmdet_setdet.models import HungarianAssigner
from mmdet_setdet.models.ground_truths import GroundTruths

BOX_COSTS = [dict(type='BBoxL1Cost', weight=5., box_format='xywh'), dict(type='IoUCost', iou_mode='giou', weight=2.)]
MATCH_COSTS = {
    'focal': [dict(type='FocalLossCost', weight=2., eps=1e-8), *BOX_COSTS],
    'softmax': [dict(type='ClassificationCost', weight=1.), *BOX_COSTS],
    'corners': [dict(type='BBoxL1Cost', weight=5., box_format='xyxy'), dict(type='IoUCost', iou_mode='iou', weight=2.)],
    'mask2former': [
        dict(type='ClassificationCost', weight=2.),
        dict(type='CrossEntropyLossCost', weight=5., use_sigmoid=True),
        dict(type='DiceCost', weight=5., pred_act=True, eps=1.),
    ],
}
SIZES = [(120, 128), (96, 160), (112, 144)]


def both_assigners(name):
    return (TASK_UTILS.build(dict(type=kind, match_costs=MATCH_COSTS[name]))
            for kind in ('mmdet_setdet.HungarianAssigner', 'HungarianAssigner'))


def random_batch(counts, layers=3, queries=12):
    """Samples, their ground truths, and random logits and boxes of all layers."""
    samples = random_samples(SIZES[:len(counts)], (128, 160), counts, num_classes=9)
    logits = torch.randn(layers, len(counts), queries, 10)
    boxes = torch.rand(layers, len(counts), queries, 4) * 0.5 + 0.1
    return samples, GroundTruths.from_samples(samples), logits, boxes


def pairs_of(plan, images, queries, width):
    """The plan as {(layer, image): {(query, object)}}, its three index tensors checked against each other."""
    pairs = {}
    for pred, gt, layer in zip(plan.pred.tolist(), plan.gt.tolist(), plan.layer.tolist()):
        problem, query = divmod(pred, queries)
        assert divmod(problem, images) == (layer, gt // width)
        pairs.setdefault((layer, gt // width), set()).add((query, gt % width))
    return pairs


@pytest.mark.parametrize('counts', [(3, 0, 7), (20, 12, 1), (0, 0, 0), (0, )], ids=str)
@pytest.mark.parametrize('name', ['focal', 'softmax', 'corners'])
def test_batch_equals_mmdets_image_by_image(name, counts):
    ours, theirs = both_assigners(name)
    samples, gts, logits, boxes = random_batch(counts)
    costs = ours.costs(logits, boxes, gts)
    assert costs.shape == (3, len(counts), 12, max(counts))
    got = pairs_of(ours.assign_batch(costs, gts.counts, gts.metas), len(counts), 12, max(counts))
    for layer, (image, sample) in itertools.product(range(3), enumerate(samples)):
        height, width = sample.img_shape
        pred = InstanceData(
            scores=logits[layer, image],
            bboxes=bbox_cxcywh_to_xyxy(boxes[layer, image]) * torch.tensor([width, height, width, height]))
        inds = theirs.assign(pred, sample.gt_instances, sample.metainfo).gt_inds
        expected = {(query, inds[query].item() - 1) for query in inds.nonzero().flatten().tolist()}
        assert len(expected) == min(12, counts[image])
        assert got.get((layer, image), set()) == expected


@pytest.mark.parametrize('num_objects', [0, 4, 15])
@pytest.mark.parametrize('name', MATCH_COSTS)
def test_assign_equals_mmdets(name, num_objects):
    ours, theirs = both_assigners(name)
    [sample] = random_samples([(96, 128)], (96, 128), [num_objects], num_classes=9)
    pred = InstanceData(scores=torch.randn(10, 10), bboxes=bbox_cxcywh_to_xyxy(torch.rand(10, 4) * 50 + 20))
    objects = sample.gt_instances
    if name == 'mask2former':
        pred.masks, objects.masks = torch.randn(10, 50), (torch.rand(num_objects, 50) > 0.5).long()
    got, expected = (assigner.assign(pred, objects, sample.metainfo) for assigner in (ours, theirs))
    assert (got.gt_inds > 0).sum() == min(10, num_objects)
    assert got.num_gts == num_objects
    torch.testing.assert_close(got.gt_inds, expected.gt_inds)
    torch.testing.assert_close(got.labels, expected.labels)


@pytest.fixture
def log():
    """Warnings of mmengine's logger."""
    messages, handler, logger = [], logging.Handler(), MMLogger.get_current_instance()
    handler.emit = lambda record: messages.append(record.getMessage())
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def best_finite(cost):
    """The lowest total over all largest sets of finite pairs, by trying every one; cost is (Q, G)."""
    totals = {}
    for queries in itertools.permutations(range(len(cost)), cost.shape[1]):
        chosen = [cost[q, g] for g, q in enumerate(queries) if np.isfinite(cost[q, g])]
        totals[len(chosen)] = min(totals.get(len(chosen), np.inf), sum(chosen))
    return max(totals), totals[max(totals)]


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), float('-inf')])
def test_costs_that_are_not_finite_are_never_matched(bad, log):
    assigner = HungarianAssigner(MATCH_COSTS['focal'])
    costs = torch.randn(2, 2, 5, 3) * 10
    costs[1, 0, 2, 1] = bad
    costs[1, 1, :, 0] = bad  # an object that nobody can take
    costs[1, 1, :4, 1] = bad  # two objects that want the same prediction
    costs[1, 1, :4, 2] = bad
    plan = assigner.assign_batch(costs, [3, 3], [dict(img_path='a.jpg'), dict(img_path='b.jpg')])
    pairs = pairs_of(plan, 2, 5, 3)
    for (layer, image), matched in pairs.items():
        cost = costs[layer, image].double().numpy()
        values = [cost[query, g] for query, g in matched]
        number, total = best_finite(cost)
        assert len(values) == number and sum(values) == pytest.approx(total)
    assert len(pairs[1, 1]) == 1 and len(pairs[1, 0]) == 3
    assert len(log) == 1, 'said once, not at every image'
    for word in ('a.jpg', 'layer 1', 'prediction 2', 'object 1'):
        assert word in log[0]
    assigner.assign_batch(costs, [3, 3])
    assert len(log) == 1


def test_padding_is_neither_matched_nor_checked(log):
    assigner = HungarianAssigner(MATCH_COSTS['focal'])
    costs = torch.rand(1, 2, 5, 3)
    costs[0, 0, :, 1:] = float('nan')
    costs[0, 1] = float('-inf')
    plan = assigner.assign_batch(costs, [1, 0])
    assert pairs_of(plan, 2, 5, 3) == {(0, 0): {(costs[0, 0, :, 0].argmin().item(), 0)}}
    assert not log


def test_no_finite_cost_at_all_is_an_error():
    assigner = HungarianAssigner(MATCH_COSTS['softmax'])
    costs = torch.rand(2, 2, 5, 3)
    costs[1, 1] = float('nan')
    with pytest.raises(FloatingPointError, match=r'b\.jpg.*layer 1.*prediction 0'):
        assigner.assign_batch(costs, [3, 3], [dict(img_path='a.jpg'), dict(img_path='b.jpg')])
    [sample] = random_samples([(96, 128)], (96, 128), [2])
    pred = InstanceData(scores=torch.full((4, 81), float('nan')), bboxes=torch.rand(4, 4))
    with pytest.raises(FloatingPointError, match=r'0\.jpg.*prediction 0'):
        assigner.assign(pred, sample.gt_instances, sample.metainfo)


def test_assign_leaves_a_prediction_of_nan_alone(log):
    assigner = HungarianAssigner(MATCH_COSTS['softmax'])
    [sample] = random_samples([(96, 128)], (96, 128), [3])
    pred = InstanceData(scores=torch.randn(4, 81), bboxes=bbox_cxcywh_to_xyxy(torch.rand(4, 4) * 20 + 30))
    pred.scores[1] = float('nan')
    result = assigner.assign(pred, sample.gt_instances, sample.metainfo)
    assert result.gt_inds[1] == 0 and result.labels[1] == -1
    assert sorted(result.gt_inds.tolist()) == [0, 1, 2, 3]
    assert len(log) == 1 and '0.jpg' in log[0] and 'prediction 1' in log[0]


def test_costs_without_a_batched_form_are_named():
    gts = random_batch((2, ))[1]
    logits, boxes = torch.randn(1, 1, 5, 10), torch.rand(1, 1, 5, 4)
    with pytest.raises(TypeError, match='CrossEntropyLossCost.*DiceCost.*FocalLossCost'):
        HungarianAssigner(MATCH_COSTS['mask2former']).costs(logits, boxes, gts)
    with pytest.raises(ValueError, match='binary_input'):
        HungarianAssigner(dict(type='FocalLossCost', binary_input=True)).costs(logits, boxes, gts)


def test_costs_take_no_gradient_and_half_precision():
    assigner = HungarianAssigner(MATCH_COSTS['focal'])
    _, gts, logits, boxes = random_batch((3, 0, 7))
    expected = assigner.costs(logits, boxes, gts)
    got = assigner.costs(logits.bfloat16().requires_grad_(), boxes.requires_grad_(), gts)
    assert got.dtype == torch.float32 and not got.requires_grad
    torch.testing.assert_close(got, expected, atol=0.1, rtol=0.05)
