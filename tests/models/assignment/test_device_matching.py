"""HungarianAssigner(on_device=True): the same matches as scipy's, all problems of a step in one call."""

import sys
import types

import pytest
import torch
from helpers.assignment import FOCAL_COSTS, pairs_of
from scipy.optimize import linear_sum_assignment

from mmdet_setdet.errors import InputError
from mmdet_setdet.models import HungarianAssigner


def scipys(costs):
    """What torch-linear-assignment promises: the column of each row, -1 for none."""
    columns = torch.full(costs.shape[:2], -1)
    for problem, cost in enumerate(costs):
        row, column = map(torch.from_numpy, linear_sum_assignment(cost))
        columns[problem, row] = column
    return columns


@pytest.fixture(params=['installed', 'stand-in'])
def calls(request, monkeypatch):
    """The shapes of the problems that the solver gets."""
    solve = scipys
    if request.param == 'installed':
        package = pytest.importorskip('torch_linear_assignment')
        solve = package.batch_linear_assignment
    shapes = []

    def solver(costs):
        shapes.append(tuple(costs.shape))
        return solve(costs)

    module = types.SimpleNamespace(batch_linear_assignment=solver)
    monkeypatch.setitem(sys.modules, 'torch_linear_assignment', module)
    return shapes


def pairs(matches, costs):
    _, num_images, num_queries, num_gts = costs.shape
    return pairs_of(matches, num_queries=num_queries, num_images=num_images, num_gts=num_gts)


def both(k=1):
    return HungarianAssigner(FOCAL_COSTS, k), HungarianAssigner(FOCAL_COSTS, k, on_device=True)


@pytest.mark.parametrize('k', [1, 3])
def test_the_matches_are_scipys(calls, k):
    costs = torch.rand(2, 3, 20, 5, generator=torch.Generator().manual_seed(0))
    counts = [5, 0, 2]
    on_host, on_device = (assigner.assign_batch(costs, counts) for assigner in both(k))
    assert calls == [(6, 5 * k, 20)]
    assert pairs(on_device, costs) == pairs(on_host, costs)
    assert on_device.num_in_last == on_host.num_in_last == 7 * k
    last = [matches.of_last_layer(3 * 20) for matches in (on_host, on_device)]
    assert pairs(last[1], costs) == pairs(last[0], costs)


def test_images_without_objects(calls):
    matches = both()[1].assign_batch(torch.zeros(2, 2, 4, 0), [0, 0])
    assert len(matches.pred) == matches.num_in_last == 0


@pytest.mark.parametrize('what', ['not finite', 'too many objects'])
def test_scipy_solves_the_rest(calls, what):
    costs = torch.rand(1, 2, 3, 4 if what == 'too many objects' else 2)
    if what == 'not finite':
        costs[0, 1, 0, 0] = float('nan')
    counts = [costs.shape[-1]] * 2
    on_host, on_device = (assigner.assign_batch(costs, counts) for assigner in both())
    assert not calls
    assert pairs(on_device, costs) == pairs(on_host, costs)


def test_padding_may_be_anything(calls):
    costs = torch.rand(1, 1, 6, 4)
    costs[..., 2:] = float('nan')
    on_host, on_device = (assigner.assign_batch(costs, [2]) for assigner in both())
    assert calls
    assert pairs(on_device, costs) == pairs(on_host, costs)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch_linear_assignment', None)
    with pytest.raises(
        InputError, match='on_device=True needs pip install torch-linear-assignment'
    ):
        HungarianAssigner(FOCAL_COSTS, on_device=True)
