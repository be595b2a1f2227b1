"""The solvers of optimal transport: against each other, against matching, and at the limits of float32."""

import doctest

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from mmdet_setdet.errors import InputError
from mmdet_setdet.models.assignment import (
    decode_plan,
    dynamic_k,
    exact_transport,
    sinkhorn,
    transport_problem,
    with_background,
)


def random_problem(num_gts=4, num_preds=60, batch=2, k=5):
    """Ground truths of k units and a background with the rest, against predictions that demand one unit."""
    generator = torch.Generator().manual_seed(0)
    costs = torch.rand(batch, num_gts + 1, num_preds, generator=generator) * 3
    supply = with_background(torch.full((batch, num_gts), k), num_preds)
    demand = torch.ones(batch, num_preds)
    return costs, supply, demand


def total_cost(plan, costs):
    return (plan * costs).sum((-2, -1))


def sinkhorn_by_definition(costs, supply, demand, eps, iterations):
    """All iterations in the log domain and in float64."""
    costs = costs.double()
    u = torch.zeros_like(supply, dtype=torch.double)
    for _ in range(iterations):
        relative = (u[..., None] - costs) / eps
        v = eps * (demand.log() - relative.logsumexp(-2))
        relative = (v[..., None, :] - costs) / eps
        u = eps * (supply.log() - relative.logsumexp(-1))
    potentials = u[..., None] + v[..., None, :]
    return ((potentials - costs) / eps).exp().float()


class TestSinkhorn:
    @pytest.mark.parametrize('eps', [1.0, 0.1, 0.01])
    @pytest.mark.parametrize('iterations', [1, 2, 5, 6, 50])
    def test_equals_the_definition_after_any_number_of_iterations(self, eps, iterations):
        problem = random_problem()
        transport = sinkhorn(*problem, eps=eps, iterations=iterations, tolerance=0)
        assert transport.iterations == iterations
        expected = sinkhorn_by_definition(*problem, eps, iterations)
        torch.testing.assert_close(transport.plan, expected, atol=1e-4, rtol=1e-4)

    def test_a_converged_plan_is_feasible(self):
        costs, supply, demand = random_problem()
        transport = sinkhorn(costs, supply, demand, iterations=2000, tolerance=1e-5)
        assert transport.iterations < 500
        assert transport.error.shape == (2,)
        assert transport.error.max() <= 1e-5
        torch.testing.assert_close(transport.plan.sum(2), supply, rtol=1e-4, atol=0)
        torch.testing.assert_close(transport.plan.sum(1), demand, rtol=1e-4, atol=0)

    def test_error_is_that_of_what_a_demander_receives(self):
        transport = sinkhorn(*random_problem(), iterations=3)
        error = (transport.plan.sum(1) - 1).abs().amax(1)
        torch.testing.assert_close(transport.error, error)
        assert error.min() > 1e-3

    def test_approaches_the_exact_plan_as_eps_falls(self):
        problem = random_problem(batch=1)
        [costs], [supply], [demand] = problem
        exact = exact_transport(costs, supply, demand)
        optimum = total_cost(exact, costs)
        gaps = []
        for eps in (1.0, 0.1, 0.01):
            transport = sinkhorn(*problem, eps=eps, iterations=5000, tolerance=1e-4)
            gap = total_cost(transport.plan[0], costs) / optimum - 1
            gaps.append(gap.item())
        assert gaps[0] > gaps[1] > gaps[2] > -1e-4
        assert gaps[2] < 0.01 < gaps[0]
        same_supplier = decode_plan(transport.plan)[0] == exact.argmax(0)
        assert same_supplier.float().mean() > 0.9

    def test_columns_that_only_the_background_supplies_may_be_merged(self):
        costs, supply, demand = random_problem(num_preds=200)
        costs[:, :-1, 50:] = 1e6
        expected = sinkhorn(costs, supply, demand, tolerance=0)
        costs[:, -1, 50] = 0
        merged_demand = torch.ones(2, 51)
        merged_demand[:, 50] = 150
        merged = sinkhorn(costs[..., :51], supply, merged_demand, tolerance=0)
        own, others = merged.plan.split([50, 1], -1)
        expected_own, expected_others = expected.plan.split([50, 150], -1)
        torch.testing.assert_close(own, expected_own, atol=1e-5, rtol=0)
        torch.testing.assert_close(others[:, -1, 0], expected_others[:, -1].sum(-1))

    def test_padding_changes_nothing(self):
        costs, supply, demand = random_problem()
        expected = sinkhorn(costs, supply, demand)
        padded_costs = F.pad(costs, (0, 10, 0, 2), value=3.0)
        padded = sinkhorn(padded_costs, F.pad(supply, (0, 2)), F.pad(demand, (0, 10)))
        plan = padded.plan[:, :5, :60]
        torch.testing.assert_close(plan, expected.plan, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(padded.error, expected.error, atol=1e-5, rtol=1e-4)
        assert not padded.plan[:, 5:].any()
        assert not padded.plan[..., 60:].any()

    @pytest.mark.parametrize(('scale', 'tolerance'), [(1e-4, 1e-3), (1e4, 0.1), (1e6, None)])
    def test_no_cost_is_too_large_or_too_small_for_float32(self, scale, tolerance):
        costs, supply, demand = random_problem()
        plan = sinkhorn(costs * scale, supply, demand).plan
        assert plan.isfinite().all()
        assert plan.min() >= 0
        if tolerance:
            torch.testing.assert_close(plan.sum(2), supply, rtol=tolerance, atol=0)

    def test_a_row_of_large_costs_keeps_its_digits(self):
        costs, supply, demand = random_problem()
        costs[:, 0] += 1e5
        plan = sinkhorn(costs, supply, demand, tolerance=0).plan
        expected = sinkhorn_by_definition(costs, supply, demand, eps=0.1, iterations=50)
        torch.testing.assert_close(plan, expected, atol=1e-3, rtol=1e-3)

    def test_autocast_and_half_precision_change_nothing(self):
        costs, supply, demand = random_problem()
        costs = costs.bfloat16()
        expected = sinkhorn(costs.float(), supply, demand)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            transport = sinkhorn(costs, supply, demand)
        assert transport.plan.dtype == torch.float32
        assert torch.equal(transport.plan, expected.plan)


class TestExactTransport:
    def test_the_plan_is_feasible_and_of_whole_units(self):
        [costs], [supply], [demand] = random_problem(batch=1)
        plan = exact_transport(costs, supply, demand)
        torch.testing.assert_close(plan.sum(1), supply.double())
        torch.testing.assert_close(plan.sum(0), demand.double())
        torch.testing.assert_close(plan, plan.round())

    def test_k_units_are_the_matching_of_k_copies(self):
        [costs], [supply], [demand] = random_problem(batch=1, k=3)
        costs = costs.double()
        # A prediction that a ground truth gets saves the cost of the background.
        saved = costs[:-1] - costs[-1]
        copies = saved.repeat_interleave(3, 0)
        rows, columns = linear_sum_assignment(copies)
        optimum = costs[-1].sum() + copies[rows, columns].sum()
        plan = exact_transport(costs, supply, demand)
        assert total_cost(plan, costs).item() == pytest.approx(optimum.item())

    def test_one_unit_each_is_the_hungarian_matching(self):
        costs = torch.rand(7, 7)
        one = torch.ones(7)
        _, columns = linear_sum_assignment(costs)
        exact = exact_transport(costs, one, one)
        assert exact.argmax(1).tolist() == columns.tolist()
        entropic = sinkhorn(
            costs[None], one[None], one[None], eps=0.005, iterations=5000, tolerance=1e-2
        )
        assert entropic.plan[0].argmax(1).tolist() == columns.tolist()

    def test_different_sums_of_supply_and_demand_are_refused(self):
        with pytest.raises(InputError, match='2 units and demand to 3'):
            exact_transport(torch.zeros(2, 3), torch.ones(2), torch.ones(3))


def test_dynamic_k_is_the_rounded_sum_of_the_largest_ious():
    ious = torch.tensor([[0.9, 0.8, 0.7, 0.1], [0.2, 0.1, 0.0, 0.0], [0.5, float('nan'), 0.0, 0.0]])
    assert dynamic_k(ious, top_q=3).tolist() == [2, 1, 1]
    assert dynamic_k(ious[:1], top_q=2).tolist() == [1]
    assert dynamic_k(ious[:1], top_q=20).tolist() == [2]


def test_background_supplies_the_rest_and_at_least_half_a_unit():
    k = torch.tensor([[2, 1], [4, 4], [0, 0]])
    expected = [[2, 1, 1], [1.75, 1.75, 0.5], [0, 0, 4]]
    assert with_background(k, num_preds=4).tolist() == expected


def test_decoding_compares_shares_and_not_units():
    plan = torch.tensor([[[0.1, 0.04, 0.0], [0.9, 0.96, 1.0]]])
    assert decode_plan(plan).tolist() == [[0, 1, 1]]


def test_the_example_in_the_documentation_of_transport_problems():
    results = doctest.testmod(transport_problem)
    assert results.attempted > 5
    assert results.failed == 0
