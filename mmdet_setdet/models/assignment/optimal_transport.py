"""Optimal transport from suppliers (objects and the background) to demanders (predictions).

One problem, two solvers: :func:`sinkhorn` for whole batches of training steps, :func:`exact_transport` for checking it.
With one unit per supplier the exact plan is the Hungarian matching.

    minimise sum_ij c_ij pi_ij   subject to   sum_j pi_ij = s_i,  sum_i pi_ij = d_j,  pi_ij >= 0      (OTA, equation 1)
"""
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import block_diag, hstack, identity, vstack
from torch import Tensor

# Iterations between two returns to the log domain, see sinkhorn.
ABSORB_EVERY = 5


@dataclass
class Transport:
    """What a solver found for B problems of S suppliers and D demanders.

    Attributes:
        plan (Tensor): Units that each supplier sends to each demander, float32, (B, S, D).
        error (Tensor): How far from converged: the largest relative error of what a demander gets, (B, ). The suppliers
            send what they have.
        iterations (int): Iterations done, at most those asked for.
    """
    plan: Tensor
    error: Tensor
    iterations: int


@torch.no_grad()
def sinkhorn(costs: Tensor,
             supply: Tensor,
             demand: Tensor,
             eps: float = 0.1,
             iterations: int = 50,
             tolerance: float = 1e-5) -> Transport:
    """Entropic transport by Sinkhorn-Knopp iterations, for a batch of problems (OTA, equations 8 to 11).

    The plan is ``exp((u + v - costs) / eps)``, its potentials u and v live in the log domain. An iteration there takes
    an exponential and a logarithm of every entry, so only the first is done there. The next ones scale rows and columns
    of the plan; every ``ABSORB_EVERY`` iterations the scales go back into the potentials, and the plan is computed anew
    (Schmitzer, arXiv 1610.06519). A half step scales by at most the total demand over the smallest supply or demand,
    which so few of them cannot make overflow in practice, and what underflows meanwhile comes back with the new plan.

    A supply or demand of 0 marks padding: its row or column of the plan is 0, whatever its costs are.

    Args:
        costs (Tensor): Finite costs of a unit, (B, S, D). Computed in float32, also under autocast, which does not
            tell costs beyond some 1e6 ``eps`` apart.
        supply (Tensor): Units that each supplier has, (B, S); adds up to the same as ``demand``.
        demand (Tensor): Units that each demander wants, (B, D).
        eps (float): Weight of the entropy, in units of the costs. The smaller, the nearer to the exact plan and the
            slower the convergence.
        iterations (int): At most so many.
        tolerance (float): Stop when every demander gets what it wants within this relative error. Only a CPU looks, at
            every return to the log domain; a GPU would have to be waited for.
    """
    with torch.autocast(costs.device.type, enabled=False):
        costs, supply, demand = costs.float(), supply.float(), demand.float()
        v = eps * (demand.log() - (-costs / eps).logsumexp(-2))
        # From here on u starts anew, so a row may lose a constant: one of large costs then keeps its last digits.
        costs = costs - costs.amin(-1, keepdim=True)
        u = eps * (supply.log() - ((v[:, None] - costs) / eps).logsumexp(-1))
        plan, done = _plan(costs, u, v, eps), 1
        while done < iterations:
            rows, columns = torch.ones_like(u), torch.ones_like(v)
            for _ in range(min(ABSORB_EVERY, iterations - done)):
                columns = _share(demand, (plan * rows[:, :, None]).sum(-2))
                rows = _share(supply, (plan * columns[:, None]).sum(-1))
                done += 1
            u, v = u + eps * rows.log(), v + eps * columns.log()
            plan = _plan(costs, u, v, eps)
            if costs.device.type == 'cpu' and _error(plan, demand).max() <= tolerance:
                break
        return Transport(plan, _error(plan, demand), done)


def with_background(units: Tensor, total: Tensor | int) -> Tensor:
    """The supply of objects that want ``units`` (..., G) of ``total`` predictions, and of the background, (..., G + 1).

    Objects that want all there is, or more, share it, and leave the background half a unit.
    """
    units = units * ((total - 0.5) / units.sum(-1, keepdim=True).clamp(min=1)).clamp(max=1)
    return torch.cat([units, total - units.sum(-1, keepdim=True)], -1)


def _plan(costs: Tensor, u: Tensor, v: Tensor, eps: float) -> Tensor:
    return ((u[:, :, None] + v[:, None]).sub_(costs)).div_(eps).exp_()


def _share(wanted: Tensor, found: Tensor) -> Tensor:
    """The scale that turns what is found into what is wanted; 0 for padding, where both are 0."""
    return wanted / found.clamp_(min=torch.finfo(found.dtype).tiny)


def _error(plan: Tensor, demand: Tensor) -> Tensor:
    return _share((plan.sum(-2) - demand).abs_(), demand.clone()).amax(-1)


def exact_transport(costs: Tensor, supply: Tensor, demand: Tensor) -> Tensor:
    """The cheapest plan of one problem, by linear programming; for small problems, on the CPU.

    Whole units of supply and demand give a plan of whole units. One unit each is bipartite matching: then the plan is
    the permutation that ``scipy.optimize.linear_sum_assignment`` finds.

    Args:
        costs (Tensor): Finite costs of a unit, (S, D).
        supply (Tensor): Units that each supplier has, (S, ).
        demand (Tensor): Units that each demander wants, (D, ); adds up to the same as ``supply``.

    Returns:
        Tensor: Units, float64, (S, D).

    Raises:
        ValueError: Supply and demand do not add up to the same.
    """
    suppliers, demanders = costs.shape
    if not torch.isclose(supply.double().sum(), demand.double().sum()):
        raise ValueError(f'supply adds up to {supply.sum():g} units and demand to {demand.sum():g}: there is no plan')
    rows = block_diag([np.ones((1, demanders))] * suppliers)
    columns = hstack([identity(demanders)] * suppliers)
    found = linprog(
        costs.double().flatten().numpy(force=True), method='highs',
        A_eq=vstack([rows, columns]),
        b_eq=torch.cat([supply, demand]).double().numpy(force=True))
    return torch.from_numpy(found.x).reshape(suppliers, demanders)


def decode(plan: Tensor) -> Tensor:
    """The supplier of each demander: the one to whom the demander means most.

    As in the authors' code shares are relative to the largest that the supplier sends anywhere, so that an object with
    one unit to spread over many predictions still wins one against the background.

    Args:
        plan (Tensor): Units for demanders of one unit each, (B, S, D).

    Returns:
        Tensor: Indices of suppliers, long, (B, D).
    """
    return _share(plan, plan.amax(-1, keepdim=True)).argmax(-2)
