"""SinkhornQueryAssigner: against Hungarian matching, dynamic k, padding, and costs that are not finite."""

import pytest
import torch
from helpers.assignment import FOCAL_COSTS, pairs_of, random_batch
from mmdet.models.task_modules.assigners import HungarianAssigner as MMDetHungarianAssigner
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from mmengine.structures import InstanceData

from mmdet_setdet.errors import InputError
from mmdet_setdet.models import HungarianAssigner, SinkhornQueryAssigner
from mmdet_setdet.models.ground_truths import GroundTruths

NAN = float('nan')


def match(assigner, logits, boxes, gts):
    """Match and return the pairs per layer and image."""
    return pairs_of(assigner.match(logits, boxes, gts), gts, num_queries=logits.shape[2])


def test_with_k_1_and_small_eps_it_is_the_hungarian_matching():
    _, gts, logits, boxes = random_batch((3, 0, 7), queries=40)
    exact = match(HungarianAssigner(FOCAL_COSTS), logits, boxes, gts)
    assigner = SinkhornQueryAssigner(FOCAL_COSTS, k=1, eps=0.005, iterations=3000)
    assert match(assigner, logits, boxes, gts) == exact


def test_k_follows_the_ious():
    _, gts, logits, _ = random_batch((3, 2), layers=2, queries=40)
    copies = gts.boxes.repeat_interleave(14, 1)[:, :40]
    boxes = copies.expand(2, -1, -1, -1).clone()
    centres, sides = boxes.split(2, -1)
    centres += torch.rand_like(centres) * sides * 0.2
    gt_corners = bbox_cxcywh_to_xyxy(gts.boxes).expand(2, -1, -1, -1)
    ious = bbox_overlaps(gt_corners, bbox_cxcywh_to_xyxy(boxes))
    k = ious.topk(20).values.sum(-1).floor()
    assigner = SinkhornQueryAssigner(FOCAL_COSTS, eps=0.02, iterations=500)
    pairs = match(assigner, logits, boxes, gts)
    assert len(pairs) == 2 * 2
    for (layer, image), matched in pairs.items():
        for gt in range(gts.counts[image]):
            num_queries = sum(matched_gt == gt for _, matched_gt in matched)
            wanted = k[layer, image, gt]
            assert wanted > 3
            assert abs(num_queries - wanted) <= 2


def test_a_batch_equals_its_images():
    samples, gts, logits, boxes = random_batch((3, 0, 7), queries=40)
    assigner = SinkhornQueryAssigner(FOCAL_COSTS)
    together = match(assigner, logits, boxes, gts)
    for image, sample in enumerate(samples):
        alone = match(
            assigner,
            logits[:, image : image + 1],
            boxes[:, image : image + 1],
            GroundTruths.from_samples([sample]),
        )
        for layer in range(3):
            assert alone.get((layer, 0)) == together.get((layer, image))


def test_without_ground_truths_nothing_is_matched():
    _, gts, logits, boxes = random_batch((0, 0))
    matches = SinkhornQueryAssigner(FOCAL_COSTS).match(logits, boxes, gts)
    assert matches.num_pairs.tolist() == [0, 0, 0]


def test_more_ground_truths_than_queries():
    _, gts, logits, boxes = random_batch((30, 1), queries=8)
    matches = SinkhornQueryAssigner(FOCAL_COSTS).match(logits, boxes, gts)
    assert len(set(matches.pred.tolist())) == len(matches.pred)
    assert matches.num_pairs.min() > 0


class TestCostsThatAreNotFinite:
    def test_they_are_never_matched_and_warned_of_once(self, warnings):
        _, gts, logits, boxes = random_batch((3, 2), queries=40)
        logits[1, 0, :5] = NAN
        logits[2, 1, 7] = float('inf')
        assigner = SinkhornQueryAssigner(FOCAL_COSTS)
        for _ in range(2):
            pairs = match(assigner, logits, boxes, gts)
        for (_, image), matched in pairs.items():
            assert {gt for _, gt in matched} == set(range(gts.counts[image]))
        matched_queries = {query for query, _ in pairs[1, 0]}
        assert matched_queries.isdisjoint(range(5))
        assert len(warnings) == 1
        for word in (
            '0.jpg',
            '15 of 120',
            'decoder layer 1',
            'ground truth 0',
            'prediction 0',
            'shown once',
        ):
            assert word in warnings[0]

    def test_who_gets_no_finite_cost_gets_nothing(self, monkeypatch):
        """Two ground truths want the only query with finite costs; the other one is left without any."""
        _, gts, logits, boxes = random_batch((2,), layers=1, queries=4)
        costs = torch.full((1, 1, 4, 2), float('inf'))
        costs[0, 0, 0] = torch.tensor([1000.0, 0.0])
        assigner = SinkhornQueryAssigner(FOCAL_COSTS, k=1, eps=100, iterations=2000)
        monkeypatch.setattr(assigner, 'costs', lambda *_: costs)
        assert match(assigner, logits, boxes, gts) == {(0, 0): {(0, 1)}}

    def test_an_image_without_any_finite_cost_is_an_error(self):
        _, gts, logits, boxes = random_batch((3, 2))
        logits[2, 1] = NAN
        with pytest.raises(FloatingPointError, match=r'1\.jpg.*decoder layer 2.*learning rate'):
            SinkhornQueryAssigner(FOCAL_COSTS).match(logits, boxes, gts)

    def test_an_image_without_ground_truths_is_not_checked(self, warnings):
        _, gts, logits, boxes = random_batch((3, 0))
        logits[:, 1] = NAN
        SinkhornQueryAssigner(FOCAL_COSTS).match(logits, boxes, gts)
        assert not warnings


def test_it_is_no_hungarian_assigner_and_refuses_mmdets_interface():
    assigner = SinkhornQueryAssigner(FOCAL_COSTS)
    assert not isinstance(assigner, MMDetHungarianAssigner)
    with pytest.raises(InputError, match='SinkhornQueryAssigner.*mmdet_setdet.HungarianAssigner'):
        assigner.assign(InstanceData(), InstanceData(), img_meta={})


@pytest.mark.parametrize('name', ['k', 'top_q', 'iterations', 'eps'])
def test_options_out_of_range_are_refused(name):
    with pytest.raises(InputError, match=f'SinkhornQueryAssigner: {name}=0 must be'):
        SinkhornQueryAssigner(FOCAL_COSTS, **{name: 0})
