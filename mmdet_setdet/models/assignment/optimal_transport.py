"""Optimal transport from suppliers (ground truths and the background) to demanders (predictions).

    minimise sum_ij c_ij pi_ij   subject to   sum_j pi_ij = s_i,  sum_i pi_ij = d_j,  pi_ij >= 0      (OTA, equation 1)

There are two solvers: :func:`sinkhorn` for whole batches during training, :func:`exact_transport` to check it. If every
supply and demand is 1, the exact plan is the Hungarian matching.

:func:`dynamic_k`, :func:`with_background` and :func:`decode_plan` lead from label assignment to transport and back: how
many predictions a ground truth gets, the supplies that follow from it, and the supplier of each prediction in a plan.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import block_diag, hstack, identity, vstack
from torch import Tensor

from ...errors import InputError

# Iterations between two returns to the log domain, see sinkhorn.
ABSORB_EVERY = 5


@dataclass
class Transport:
    """The result of a solver for B problems with S suppliers and D demanders.

    Attributes:
        plan (Tensor): Units sent from each supplier to each demander, float32, (B, S, D).
        error (Tensor): Largest relative error of what a demander receives, 0 if converged, float32, (B, ). What the
            suppliers send is exact.
        iterations (int): Number of iterations done.
    """

    plan: Tensor
    error: Tensor
    iterations: int


@torch.no_grad()
def sinkhorn(
    costs: Tensor,
    supply: Tensor,
    demand: Tensor,
    eps: float = 0.1,
    iterations: int = 50,
    tolerance: float = 1e-5,
) -> Transport:
    """Solve a batch of transport problems with entropy by Sinkhorn-Knopp iterations (OTA, equations 8 to 11).

    The plan is ``exp((u + v - costs) / eps)`` with potentials u (B, S) and v (B, D) in the log domain. An iteration in
    the log domain takes an exponential and a logarithm of every entry, so only the first is done there. The following
    ones scale rows and columns of the plan. Every ``ABSORB_EVERY`` iterations the scales are absorbed by the potentials
    and the plan is recomputed (Schmitzer, arXiv 1610.06519). A half step scales by at most the total demand over the
    smallest supply or demand, so a few of them do not overflow in practice; entries that underflow come back with the
    recomputed plan.

    A supply or demand of 0 marks padding: its row or column of the plan is 0, whatever its costs are.

    Args:
        costs (Tensor): Finite costs per unit, (B, S, D). Computed in float32, also under autocast; beyond about 1e6
            ``eps`` costs can no longer be distinguished.
        supply (Tensor): Units per supplier, (B, S), with the same sum as ``demand``.
        demand (Tensor): Units per demander, (B, D).
        eps (float): Weight of the entropy, in the unit of the costs. A smaller one gives a plan closer to the exact one
            and slower convergence.
        iterations (int): Maximum number of iterations.
        tolerance (float): Stop when the relative error of every demander is at most this. Checked on CPU only, at every
            return to the log domain: on a GPU it would force a sync.
    """
    with torch.autocast(costs.device.type, enabled=False):
        costs = costs.float()
        supply = supply.float()
        demand = demand.float()
        v = eps * (demand.log() - (-costs / eps).logsumexp(-2))
        # The next u is computed from v alone, so a constant may be taken from each row: a row of large costs then keeps
        # its last digits.
        costs = costs - costs.amin(-1, keepdim=True)
        relative = (v[:, None] - costs) / eps
        u = eps * (supply.log() - relative.logsumexp(-1))
        plan = _plan(costs, u, v, eps)
        done = 1
        while done < iterations:
            row_scale = torch.ones_like(u)
            column_scale = torch.ones_like(v)
            for _ in range(min(ABSORB_EVERY, iterations - done)):
                received = (plan * row_scale[:, :, None]).sum(-2)
                column_scale = _ratio(demand, received)
                sent = (plan * column_scale[:, None]).sum(-1)
                row_scale = _ratio(supply, sent)
                done += 1
            u = u + eps * row_scale.log()
            v = v + eps * column_scale.log()
            plan = _plan(costs, u, v, eps)
            if costs.device.type == 'cpu' and _error(plan, demand).max() <= tolerance:
                break
        return Transport(plan, _error(plan, demand), done)


def _plan(costs: Tensor, u: Tensor, v: Tensor, eps: float) -> Tensor:
    potentials = u[:, :, None] + v[:, None]
    return potentials.sub_(costs).div_(eps).exp_()


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, with 0 / 0 = 0 for padding. Overwrites the denominator."""
    return numerator / denominator.clamp_(min=torch.finfo(denominator.dtype).tiny)


def _error(plan: Tensor, demand: Tensor) -> Tensor:
    difference = (plan.sum(-2) - demand).abs_()
    return _ratio(difference, demand.clone()).amax(-1)


def exact_transport(costs: Tensor, supply: Tensor, demand: Tensor) -> Tensor:
    """Return the cheapest plan of a single problem by linear programming; for small problems, on the CPU.

    If supplies and demands are integers, so is the plan. If all are 1, it is the permutation that
    ``scipy.optimize.linear_sum_assignment`` returns.

    Args:
        costs (Tensor): Finite costs per unit, (S, D).
        supply (Tensor): Units per supplier, (S, ).
        demand (Tensor): Units per demander, (D, ), with the same sum as ``supply``.

    Returns:
        Tensor: Units, float64, (S, D).

    Raises:
        InputError: The sums of supply and demand differ.
    """
    num_suppliers, num_demanders = costs.shape
    total_supply = supply.double().sum()
    total_demand = demand.double().sum()
    if not torch.isclose(total_supply, total_demand):
        raise InputError(
            f'supply adds up to {supply.sum():g} units and demand to {demand.sum():g}: there is no plan'
        )
    sent = block_diag([np.ones((1, num_demanders))] * num_suppliers)
    received = hstack([identity(num_demanders)] * num_suppliers)
    solution = linprog(
        costs.double().flatten().numpy(force=True),
        A_eq=vstack([sent, received]),
        b_eq=torch.cat([supply, demand]).double().numpy(force=True),
        method='highs',
    )
    return torch.from_numpy(solution.x).reshape(num_suppliers, num_demanders)


def dynamic_k(ious: Tensor, top_q: int) -> Tensor:
    """Estimate how many predictions each ground truth gets (OTA, section 3.3).

    Args:
        ious (Tensor): IoU of each ground truth with the N predictions, (..., N).
        top_q (int): Number of the largest IoUs that are summed.

    Returns:
        Tensor: The sums rounded down, at least 1, long, (...).
    """
    largest = ious.topk(min(top_q, ious.shape[-1])).values
    return largest.sum(-1).nan_to_num(0.0).long().clamp_(min=1)


def with_background(k: Tensor, num_preds: int) -> Tensor:
    """Return the supply of the ground truths and of the background, which supplies the remaining predictions.

    Ground truths that together want all predictions, or more, are scaled down so that half a unit is left to the
    background: with 4 predictions k = (2, 1) gives (2, 1, 1), and k = (4, 4) gives (1.75, 1.75, 0.5).

    Args:
        k (Tensor): Predictions per ground truth, (..., G); 0 where padded.
        num_preds (int): Number of predictions.

    Returns:
        Tensor: Supply, float32, (..., G + 1), the background last.
    """
    wanted = k.sum(-1, keepdim=True)
    scale = (num_preds - 0.5) / wanted.clamp(min=1)
    supply = k * scale.clamp(max=1)
    background = num_preds - supply.sum(-1, keepdim=True)
    return torch.cat([supply, background], -1)


def decode_plan(plan: Tensor) -> Tensor:
    """Return the supplier of each demander: the one for which this demander is the most important.

    As in the authors' code, units are compared relative to the largest number that the supplier sends to any demander.
    So a ground truth that spreads one unit over many predictions still wins one against the background.

    Args:
        plan (Tensor): Units for demanders of one unit each, (B, S, D).

    Returns:
        Tensor: Indices of suppliers, long, (B, D).
    """
    shares = _ratio(plan, plan.amax(-1, keepdim=True))
    return shares.argmax(-2)
