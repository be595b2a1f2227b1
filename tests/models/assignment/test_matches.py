"""Matches: sums by layer, and the known matches of denoising queries."""

import numpy as np
import torch

from mmdet_setdet.models.assignment import Matches


def known_matches(num_layers):
    """Of the example in the documentation: two images of 2 and 1 ground truths, two groups."""
    return Matches.known(
        counts=[2, 1], num_gts=2, num_groups=2, num_layers=num_layers, device='cpu'
    )


def test_the_example_of_known_matches():
    matches = known_matches(num_layers=1)
    assert matches.pred.tolist() == [0, 1, 4, 2, 3, 6]
    assert matches.gt.tolist() == [0, 1, 2, 0, 1, 2]
    assert matches.layer.tolist() == [0] * 6


def test_known_matches_repeat_in_each_layer():
    one = known_matches(num_layers=1)
    three = known_matches(num_layers=3)
    for layer in range(3):
        of_layer = three.layer == layer
        assert torch.equal(three.pred[of_layer], one.pred + 8 * layer)
        assert torch.equal(three.gt[of_layer], one.gt)
    assert three.layer.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert three.num_pairs.tolist() == [6, 6, 6]


def test_without_ground_truths_no_match_is_known():
    matches = Matches.known([0, 0], num_gts=0, num_groups=3, num_layers=2, device='cpu')
    assert matches.pred.tolist() == []
    assert matches.num_pairs.tolist() == [0, 0]


def test_the_last_layer_by_itself():
    pairs = [[0, 3, 5, 6], [0, 1, 2, 1], [0, 0, 1, 1]]  # two layers of four predictions
    matches = Matches.from_numpy(*np.array(pairs), num_layers=2, device='cpu')
    last = matches.of_last_layer(num_predictions=4)
    assert last.pred.tolist() == [1, 2]
    assert last.gt.tolist() == [2, 1]
    assert last.layer.tolist() == [0, 0]
    assert last.num_pairs.tolist() == [2]


def test_values_are_summed_within_each_layer():
    index = torch.arange(4)
    matches = Matches(pred=index, gt=index, layer=torch.tensor([0, 2, 2, 0]), num_layers=3)
    sums = matches.sum_by_layer(torch.tensor([1.0, 2.0, 3.0, 10.0]))
    assert sums.tolist() == [11, 0, 5]


def test_without_pairs_the_sum_of_a_single_zero_is_zero():
    nothing = torch.zeros(0, dtype=torch.long)
    matches = Matches(pred=nothing, gt=nothing, layer=nothing, num_layers=2)
    assert matches.sum_by_layer(torch.tensor(0.0)).tolist() == [0, 0]
