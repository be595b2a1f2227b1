"""The solvers of optimal transport: against each other, against matching, and where numbers run out."""
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from mmdet_setdet.models.assignment import exact_transport, sinkhorn
from mmdet_setdet.models.assignment.optimal_transport import decode


def random_problem(suppliers=4, demanders=60, batch=2, k=5, seed=0):
    """Objects of k units and a background that has the rest, against predictions that want one unit."""
    generator = torch.Generator().manual_seed(seed)
    costs = torch.rand(batch, suppliers + 1, demanders, generator=generator) * 3
    supply = torch.full((batch, suppliers + 1), float(k))
    supply[:, -1] = demanders - k * suppliers
    return costs, supply, torch.ones(batch, demanders)


def cost_of(plan, costs):
    return (plan * costs).sum((-2, -1))


def log_domain(costs, supply, demand, eps, iterations):
    """Sinkhorn by its definition, in float64."""
    costs, u = costs.double(), torch.zeros_like(supply, dtype=torch.double)
    for _ in range(iterations):
        v = eps * (demand.log() - ((u[..., None] - costs) / eps).logsumexp(-2))
        u = eps * (supply.log() - ((v[..., None, :] - costs) / eps).logsumexp(-1))
    return ((u[..., None] + v[..., None, :] - costs) / eps).exp().float()


@pytest.mark.parametrize('eps', [1., 0.1, 0.01])
@pytest.mark.parametrize('iterations', [1, 2, 5, 6, 50])
def test_equals_the_definition_after_any_number_of_iterations(eps, iterations):
    problem = random_problem()
    found = sinkhorn(*problem, eps=eps, iterations=iterations, tolerance=0)
    assert found.iterations == iterations
    torch.testing.assert_close(found.plan, log_domain(*problem, eps, iterations), atol=1e-4, rtol=1e-4)


def test_converged_plan_serves_everybody_and_says_so():
    costs, supply, demand = random_problem()
    found = sinkhorn(costs, supply, demand, iterations=2000, tolerance=1e-5)
    assert found.iterations < 500 and found.error.max() <= 1e-5 and found.error.shape == (2, )
    torch.testing.assert_close(found.plan.sum(2), supply, rtol=1e-4, atol=0)
    torch.testing.assert_close(found.plan.sum(1), demand, rtol=1e-4, atol=0)
    early = sinkhorn(costs, supply, demand, iterations=3)
    error = (early.plan.sum(1) - 1).abs().amax(1)
    torch.testing.assert_close(early.error, error)
    assert error.min() > 1e-3


def test_approaches_the_exact_plan_as_eps_falls():
    [costs], [supply], [demand] = problem = random_problem(batch=1)
    exact = exact_transport(costs, supply, demand)
    best = cost_of(exact, costs)
    gaps = []
    for eps in (1., 0.1, 0.01):
        plan = sinkhorn(*problem, eps=eps, iterations=5000, tolerance=1e-4).plan[0]
        gaps.append((cost_of(plan, costs) / best - 1).item())
    assert gaps[0] > gaps[1] > gaps[2] > -1e-4 and gaps[2] < 0.01 < gaps[0]
    assert (decode(plan[None])[0] == exact.argmax(0)).float().mean() > 0.9


def test_exact_plan_is_of_whole_units_and_feasible():
    [costs], [supply], [demand] = random_problem(batch=1)
    plan = exact_transport(costs, supply, demand)
    torch.testing.assert_close(plan.sum(1), supply.double())
    torch.testing.assert_close(plan.sum(0), demand.double())
    torch.testing.assert_close(plan, plan.round())


def test_exact_plan_of_k_units_is_the_matching_of_k_copies():
    [costs], [supply], [demand] = random_problem(batch=1, k=3)
    # What the background would pay is saved by every prediction that an object takes.
    saved = (costs[:-1] - costs[-1]).repeat_interleave(3, 0).double()
    rows, columns = linear_sum_assignment(saved)
    best = costs[-1].double().sum() + saved[rows, columns].sum()
    assert cost_of(exact_transport(costs, supply, demand), costs).item() == pytest.approx(best.item())


def test_matching_is_the_special_case_of_one_unit_each():
    costs = torch.rand(7, 7)
    one = torch.ones(7)
    rows, columns = linear_sum_assignment(costs)
    assert exact_transport(costs, one, one).argmax(1).tolist() == columns.tolist()
    entropic = sinkhorn(costs[None], one[None], one[None], eps=0.005, iterations=5000, tolerance=1e-2)
    assert entropic.plan[0].argmax(1).tolist() == columns.tolist()


def test_exact_plan_refuses_what_does_not_add_up():
    with pytest.raises(ValueError, match='2 units and demand to 3'):
        exact_transport(torch.zeros(2, 3), torch.ones(2), torch.ones(3))


def test_columns_that_nobody_wants_may_be_one():
    costs, supply, demand = random_problem(demanders=200)
    costs[:, :-1, 50:] = 1e6
    expected = sinkhorn(costs, supply, demand, tolerance=0)
    costs[:, -1, 50] = 0
    merged = sinkhorn(costs[..., :51], supply, torch.cat([demand[:, :50], demand[:, 50:].sum(1, keepdim=True)], 1),
                      tolerance=0)
    torch.testing.assert_close(merged.plan[..., :50], expected.plan[..., :50], atol=1e-5, rtol=0)
    torch.testing.assert_close(merged.plan[:, -1, 50], expected.plan[:, -1, 50:].sum(-1))


def test_padding_takes_no_part():
    costs, supply, demand = random_problem()
    expected = sinkhorn(costs, supply, demand)
    padded = torch.full((2, 7, 70), 3.)
    padded[:, :5, :60] = costs
    found = sinkhorn(padded, torch.nn.functional.pad(supply, (0, 2)), torch.nn.functional.pad(demand, (0, 10)))
    torch.testing.assert_close(found.plan[:, :5, :60], expected.plan, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.error, expected.error, atol=1e-5, rtol=1e-4)
    assert found.plan[:, 5:].abs().max() == 0 and found.plan[..., 60:].abs().max() == 0


@pytest.mark.parametrize('scale, tolerance', [(1e-4, 1e-3), (1e4, 0.1), (1e6, None)])
def test_no_cost_is_too_large_or_too_small_for_float32(scale, tolerance):
    costs, supply, demand = random_problem()
    found = sinkhorn(costs * scale, supply, demand)
    assert found.plan.isfinite().all() and found.plan.min() >= 0
    if tolerance:
        torch.testing.assert_close(found.plan.sum(2), supply, rtol=tolerance, atol=0)


def test_autocast_and_half_precision_change_nothing():
    costs, supply, demand = random_problem()
    costs = costs.bfloat16()
    expected = sinkhorn(costs.float(), supply, demand)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = sinkhorn(costs, supply, demand)
    assert found.plan.dtype == torch.float32 and torch.equal(found.plan, expected.plan)


def test_decoding_compares_shares_and_not_units():
    plan = torch.tensor([[[0.1, 0.04, 0.], [0.9, 0.96, 1.]]])
    assert decode(plan).tolist() == [[0, 1, 1]]
