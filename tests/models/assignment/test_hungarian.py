"""HungarianAssigner against mmdet's, image by image and layer by layer; costs that are NaN; k predictions."""

import itertools

import numpy as np
import pytest
import torch
from helpers.assignment import BOX_COSTS, FOCAL_COSTS, pairs_of, random_batch
from helpers.batches import random_samples
from mmdet.models.task_modules.assigners import HungarianAssigner as MMDetHungarianAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment

from mmdet_setdet.errors import InputError
from mmdet_setdet.models import HungarianAssigner
from mmdet_setdet.models.assignment.non_finite_costs import MAX_SKIPPED_STEPS
from mmdet_setdet.models.ground_truths import GroundTruths

SOFTMAX_COSTS = [dict(type='ClassificationCost', weight=1.0), *BOX_COSTS]
CORNER_COSTS = [
    dict(type='BBoxL1Cost', weight=5.0, box_format='xyxy'),
    dict(type='IoUCost', iou_mode='iou', weight=2.0),
]
MASK_COSTS = [
    dict(type='ClassificationCost', weight=2.0),
    dict(type='CrossEntropyLossCost', weight=5.0, use_sigmoid=True),
    dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0),
]
BATCHED_COSTS = dict(focal=FOCAL_COSTS, softmax=SOFTMAX_COSTS, corners=CORNER_COSTS)
META_A = dict(img_path='a.jpg')
META_B = dict(img_path='b.jpg')


def both_assigners(match_costs):
    ours = TASK_UTILS.build(dict(type='mmdet_setdet.HungarianAssigner', match_costs=match_costs))
    mmdets = TASK_UTILS.build(dict(type='HungarianAssigner', match_costs=match_costs))
    return ours, mmdets


def in_pixels(logits, boxes, sample):
    """Predictions of one image and layer as mmdet's assigner reads them."""
    height, width = sample.img_shape
    size = torch.tensor([width, height, width, height])
    return InstanceData(scores=logits, bboxes=bbox_cxcywh_to_xyxy(boxes) * size)


def matched_pairs(assign_result):
    """(query, gt) of mmdet's result."""
    queries = assign_result.gt_inds.nonzero().flatten()
    gts = assign_result.gt_inds[queries] - 1
    return set(zip(queries.tolist(), gts.tolist()))


class TestAgainstMMDet:
    def test_it_is_one_of_mmdets(self):
        ours, mmdets = both_assigners(FOCAL_COSTS)
        assert type(ours) is HungarianAssigner
        assert isinstance(ours, MMDetHungarianAssigner)
        assert type(mmdets) is MMDetHungarianAssigner

    def test_no_match_costs_are_refused_as_by_mmdet(self):
        for assigner in (HungarianAssigner, MMDetHungarianAssigner):
            with pytest.raises(AssertionError, match='match_costs'):
                assigner([])

    @pytest.mark.parametrize('counts', [(3, 0, 7), (20, 12, 1), (0, 0, 0), (0,)], ids=str)
    @pytest.mark.parametrize('name', BATCHED_COSTS)
    def test_a_batch_equals_its_images(self, name, counts):
        ours, mmdets = both_assigners(BATCHED_COSTS[name])
        samples, gts, logits, boxes = random_batch(counts)
        matches = ours.match(logits, boxes, gts)
        pairs = pairs_of(matches, gts, num_queries=12)
        for layer, image in itertools.product(range(3), range(len(counts))):
            sample = samples[image]
            pred = in_pixels(logits[layer, image], boxes[layer, image], sample)
            expected = matched_pairs(mmdets.assign(pred, sample.gt_instances, sample.metainfo))
            assert len(expected) == min(12, counts[image])
            assert pairs.get((layer, image), set()) == expected

    @pytest.mark.parametrize('num_gts', [0, 4, 15])
    @pytest.mark.parametrize('name', [*BATCHED_COSTS, 'masks'])
    def test_assign(self, name, num_gts):
        ours, mmdets = both_assigners({**BATCHED_COSTS, 'masks': MASK_COSTS}[name])
        [sample] = random_samples([(96, 128)], (96, 128), [num_gts], num_classes=9)
        gt_instances = sample.gt_instances
        pred = InstanceData(
            scores=torch.randn(10, 10), bboxes=bbox_cxcywh_to_xyxy(torch.rand(10, 4) * 50 + 20)
        )
        if name == 'masks':
            pred.masks = torch.randn(10, 50)
            gt_instances.masks = (torch.rand(num_gts, 50) > 0.5).long()
        result = ours.assign(pred, gt_instances, sample.metainfo)
        expected = mmdets.assign(pred, gt_instances, sample.metainfo)
        assert (result.gt_inds > 0).sum() == min(10, num_gts)
        assert result.num_gts == num_gts
        torch.testing.assert_close(result.gt_inds, expected.gt_inds)
        torch.testing.assert_close(result.labels, expected.labels)

    def test_a_single_cost_needs_no_list(self):
        single = HungarianAssigner(dict(type='FocalLossCost', weight=2.0))
        [cost] = single.match_costs
        assert cost.weight == 2.0


class TestSeveralPredictionsPerGroundTruth:
    def test_each_ground_truth_is_matched_k_times_at_the_lowest_cost(self):
        _, gts, logits, boxes = random_batch((3, 0, 7), queries=40)
        assigner = HungarianAssigner(FOCAL_COSTS, k=4)
        costs = assigner.costs(logits, boxes, gts)
        pairs = pairs_of(assigner.match(logits, boxes, gts), gts, num_queries=40)
        for (layer, image), matched in pairs.items():
            times = np.bincount([gt for _, gt in matched])
            assert times.tolist() == [4] * gts.counts[image]
            cost = costs[layer, image, :, : gts.counts[image]].double().numpy()
            repeated = cost.repeat(4, axis=1)
            lowest = repeated[linear_sum_assignment(repeated)].sum()
            total = sum(cost[query, gt] for query, gt in matched)
            assert total == pytest.approx(lowest)
        assert len(pairs) == 3 * 2

    def test_more_repetitions_than_queries_use_all_queries(self):
        _, gts, logits, boxes = random_batch((7,), queries=10)
        matches = HungarianAssigner(FOCAL_COSTS, k=6).match(logits, boxes, gts)
        assert matches.num_pairs.tolist() == [10, 10, 10]

    def test_assign_refuses_k(self):
        [sample] = random_samples([(96, 128)], (96, 128), [2])
        pred = InstanceData(scores=torch.randn(4, 80), bboxes=torch.rand(4, 4))
        with pytest.raises(InputError, match='k=3.*one_to_many.*set k=1'):
            HungarianAssigner(FOCAL_COSTS, k=3).assign(pred, sample.gt_instances, sample.metainfo)

    def test_k_below_one_is_refused(self):
        with pytest.raises(InputError, match='HungarianAssigner: k=0 must be 1 or more'):
            HungarianAssigner(FOCAL_COSTS, k=0)


def largest_and_cheapest(cost):
    """Size and total of the cheapest of the largest sets of finite pairs, by trying every one; cost is (Q, G)."""
    lowest = {}
    num_queries, num_gts = cost.shape
    for queries in itertools.permutations(range(num_queries), num_gts):
        values = cost[list(queries), range(num_gts)]
        values = values[np.isfinite(values)]
        lowest[len(values)] = min(lowest.get(len(values), np.inf), values.sum())
    size = max(lowest)
    return size, lowest[size]


class TestCostsThatAreNotFinite:
    @pytest.mark.parametrize('bad', [float('nan'), float('inf'), float('-inf')])
    def test_they_are_never_matched_and_warned_of_once(self, bad, warnings):
        assigner = HungarianAssigner(FOCAL_COSTS)
        costs = torch.randn(2, 2, 5, 3) * 10
        costs[1, 0, 2, 1] = bad
        costs[1, 1, :, 0] = bad  # a ground truth that no prediction can get
        costs[1, 1, :4, 1:] = bad  # two ground truths that compete for the last prediction
        matches = assigner.assign_batch(costs, [3, 3], [META_A, META_B])
        pairs = pairs_of(matches, num_queries=5, num_images=2, num_gts=3)
        for (layer, image), matched in pairs.items():
            cost = costs[layer, image].double().numpy()
            size, total = largest_and_cheapest(cost)
            assert len(matched) == size
            assert sum(cost[pair] for pair in matched) == pytest.approx(total)
        assert len(pairs[1, 0]) == 3
        assert len(pairs[1, 1]) == 1
        assert len(warnings) == 1
        for word in ('a.jpg', 'layer 1', 'ground truth 1', 'prediction 2', 'shown once'):
            assert word in warnings[0]
        assigner.assign_batch(costs, [3, 3])
        assert len(warnings) == 1

    def test_as_many_pairs_as_possible_are_matched_at_whatever_cost(self):
        """The cheapest finite pair alone would leave a ground truth without a match."""
        costs = torch.tensor([[0.0, 50.0], [100.0, float('inf')]])
        matches = HungarianAssigner(FOCAL_COSTS).assign_batch(costs[None, None], [2])
        pairs = pairs_of(matches, num_queries=2, num_images=1, num_gts=2)
        assert pairs == {(0, 0): {(1, 0), (0, 1)}}

    def test_padding_is_neither_matched_nor_checked(self, warnings):
        costs = torch.rand(1, 2, 5, 3)
        costs[0, 0, :, 1:] = float('nan')
        costs[0, 1] = float('-inf')
        matches = HungarianAssigner(FOCAL_COSTS).assign_batch(costs, [1, 0])
        cheapest = costs[0, 0, :, 0].argmin()
        assert matches.pred.tolist() == [cheapest]
        assert matches.gt.tolist() == [0]
        assert not warnings

    def test_an_image_without_any_finite_cost_is_an_error(self):
        costs = torch.rand(2, 2, 5, 3)
        costs[1, 1] = float('nan')
        with pytest.raises(
            FloatingPointError, match=r'b\.jpg.*layer 1.*prediction 0.*learning rate'
        ):
            HungarianAssigner(FOCAL_COSTS).assign_batch(costs, [3, 3], [META_A, META_B])

    def test_an_image_without_a_name_is_named_by_its_position(self):
        costs = torch.full((1, 2, 5, 3), float('nan'))
        with pytest.raises(FloatingPointError, match='image 1 of the batch'):
            HungarianAssigner(FOCAL_COSTS).assign_batch(costs, [0, 3])

    def test_assign_ignores_a_prediction_of_nan(self, warnings):
        [sample] = random_samples([(96, 128)], (96, 128), [3])
        boxes = bbox_cxcywh_to_xyxy(torch.rand(4, 4) * 20 + 30)
        pred = InstanceData(scores=torch.randn(4, 81), bboxes=boxes)
        pred.scores[1] = float('nan')
        result = HungarianAssigner(SOFTMAX_COSTS).assign(pred, sample.gt_instances, sample.metainfo)
        assert result.gt_inds[1] == 0
        assert result.labels[1] == -1
        assert sorted(result.gt_inds.tolist()) == [0, 1, 2, 3]
        assert len(warnings) == 1
        assert '0.jpg' in warnings[0]
        assert 'prediction 1' in warnings[0]

    def test_assign_without_any_finite_cost_is_an_error(self):
        [sample] = random_samples([(96, 128)], (96, 128), [2])
        pred = InstanceData(scores=torch.full((4, 81), float('nan')), bboxes=torch.rand(4, 4))
        with pytest.raises(FloatingPointError, match=r'0\.jpg.*prediction 0'):
            HungarianAssigner(SOFTMAX_COSTS).assign(pred, sample.gt_instances, sample.metainfo)

    def test_float16_leaves_an_image_out_but_not_in_many_steps_in_a_row(self):
        assigner = HungarianAssigner(SOFTMAX_COSTS)
        good = torch.rand(1, 2, 4, 2)
        bad = good.clone()
        bad[:, 1] = float('nan')
        with torch.autocast('cpu', torch.float16):
            for costs in (*[bad] * MAX_SKIPPED_STEPS, good, *[bad] * MAX_SKIPPED_STEPS):
                pairs = assigner.assign_batch(costs, [2, 2]).num_pairs
                assert pairs == (2 if costs is bad else 4)
            with pytest.raises(FloatingPointError, match='image 1'):
                assigner.assign_batch(bad, [2, 2])
        with pytest.raises(FloatingPointError, match='image 1'):
            HungarianAssigner(SOFTMAX_COSTS).assign_batch(bad, [2, 2])


class TestCosts:
    def test_costs_without_a_batched_form_are_named(self):
        _, gts, logits, boxes = random_batch((2,))
        with pytest.raises(TypeError, match='CrossEntropyLossCost.*DiceCost.*FocalLossCost'):
            HungarianAssigner(MASK_COSTS).costs(logits, boxes, gts)
        binary = dict(type='FocalLossCost', binary_input=True)
        with pytest.raises(InputError, match='binary_input'):
            HungarianAssigner(binary).costs(logits, boxes, gts)

    @pytest.mark.parametrize('counts', [(2,), (20,)], ids=str)
    @pytest.mark.parametrize('logit', [-200.0, 30.0, 200.0])
    def test_saturated_classes_have_finite_costs(self, logit, counts):
        """Whether there are fewer ground truths than classes, or more."""
        _, gts, logits, boxes = random_batch(counts)
        logits[:, :, 0] = logit
        assert HungarianAssigner(FOCAL_COSTS).costs(logits, boxes, gts).isfinite().all()

    def test_many_pairs_cost_what_those_of_each_image_cost(self):
        """More than are computed at a time."""
        samples, gts, logits, boxes = random_batch((100, 3, 60), layers=4, queries=300)
        assigner = HungarianAssigner(FOCAL_COSTS)
        costs = assigner.costs(logits, boxes, gts)
        for image, sample in enumerate(samples):
            only = slice(image, image + 1)
            alone = GroundTruths.from_samples([sample])
            expected = assigner.costs(logits[:, only], boxes[:, only], alone)
            torch.testing.assert_close(costs[:, only, :, : alone.total], expected)

    def test_they_are_float32_without_gradient(self):
        assigner = HungarianAssigner(FOCAL_COSTS)
        _, gts, logits, boxes = random_batch((3, 0, 7))
        expected = assigner.costs(logits, boxes, gts)
        costs = assigner.costs(logits.bfloat16().requires_grad_(), boxes.requires_grad_(), gts)
        assert costs.shape == (3, 3, 12, 7)
        assert costs.dtype == torch.float32
        assert not costs.requires_grad
        torch.testing.assert_close(costs, expected, atol=0.1, rtol=0.05)
