"""The runtime's choice among boxes is mmdet's and mmcv's."""

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms

from mmdet_setdet.runtime.dense import select, suppress, without_duplicates


def random_boxes(count, seed=0):
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 60, (count, 2))
    size = generator.uniform(5, 30, (count, 2))
    return np.concatenate([corner, corner + size], 1).astype(np.float32)


def test_suppression_is_mmcvs():
    boxes = random_boxes(200)
    scores = np.linspace(1, 0, 200, dtype=np.float32)
    _, expected = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5)
    assert 10 < len(expected) < 190
    assert suppress(boxes, 0.5).tolist() == expected.tolist()


@pytest.mark.parametrize('has_factors', [False, True])
def test_selection_is_mmdets(has_factors):
    # Two levels of an input of 64 x 64: 64 and 16 cells.
    count, num_classes, limit = 80, 3, 40
    boxes = random_boxes(count)
    scores = np.random.default_rng(1).uniform(0, 1, (count, num_classes)).astype(np.float32)
    predictions = dict(boxes=boxes, scores=scores)
    if has_factors:
        predictions['factors'] = np.random.default_rng(2).uniform(0, 1, count).astype(np.float32)
    settings = dict(score_thr=0.3, nms_pre=limit, iou_threshold=0.5, max_per_img=20)
    settings.update(strides=[8, 16], priors_per_cell=1, one_per_cell=False, drops_empty=False)
    actual = select(predictions, (64, 64), (128, 128), settings)

    chosen = []
    for level in (range(64), range(64, 80)):
        pairs = [(scores[i, k], i, k) for i in level for k in range(num_classes)]
        pairs = sorted((pair for pair in pairs if pair[0] > 0.3), reverse=True)
        chosen += pairs[:limit]
    factors = predictions.get('factors', np.ones(count, np.float32))
    values = torch.tensor([score * factors[i] for score, i, _ in chosen])
    places = torch.tensor([i for _, i, _ in chosen])
    labels = torch.tensor([k for _, _, k in chosen])
    found, index = batched_nms(
        torch.from_numpy(boxes)[places], values, labels, dict(type='nms', iou_threshold=0.5)
    )
    np.testing.assert_allclose(actual['boxes'], found[:20, :4], atol=1e-5)
    np.testing.assert_allclose(actual['scores'], found[:20, 4], atol=1e-6)
    assert actual['labels'].tolist() == labels[index][:20].tolist()


def test_nothing_above_the_threshold_is_no_detection():
    predictions = dict(boxes=random_boxes(5), scores=np.zeros((5, 2), np.float32))
    settings = dict(score_thr=0.1, nms_pre=10, iou_threshold=0.5, max_per_img=9)
    settings.update(strides=[64], priors_per_cell=5, one_per_cell=False, drops_empty=False)
    found = select(predictions, (64, 64), (128, 128), settings)
    assert [len(found[name]) for name in ('boxes', 'scores', 'labels')] == [0, 0, 0]


def test_results_of_set_prediction_lose_the_duplicates_of_their_class():
    count = 60
    random = np.random.default_rng(0)
    results = dict(
        boxes=random_boxes(count),
        scores=np.linspace(1, 0, count, dtype=np.float32),
        labels=random.integers(0, 3, count),
        queries=random.permutation(count),
        attention=random.uniform(0, 1, (count, 2, 3)),
        layer_boxes=random.uniform(0, 1, (2, count, 4)),
    )
    boxes, scores, labels = (
        torch.from_numpy(results[name]) for name in ('boxes', 'scores', 'labels')
    )
    _, kept = batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.3))
    assert 10 < len(kept) < 50
    actual = without_duplicates(results, 0.3)
    assert actual.keys() == results.keys()
    for name in ('boxes', 'scores', 'labels', 'queries', 'attention'):
        np.testing.assert_array_equal(actual[name], results[name][kept])
    assert actual['layer_boxes'] is results['layer_boxes']
