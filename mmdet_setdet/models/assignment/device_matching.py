"""Hungarian matching without leaving the GPU, by torch-linear-assignment where it is installed."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...errors import InputError
from .matches import Matches, is_gt


def load_solver() -> Callable[[Tensor], Tensor]:
    """Return torch-linear-assignment's solver, (problems, rows, columns) -> column of each row or -1.

    Raises:
        InputError: It is not installed.
    """
    try:
        from torch_linear_assignment import batch_linear_assignment
    except ImportError as error:
        raise InputError(
            'HungarianAssigner: on_device=True needs pip install torch-linear-assignment '
            f'({error}); on_device=False solves on the CPU by scipy'
        ) from error
    return batch_linear_assignment


def can_solve(costs: Tensor, counts: Sequence[int], k: int) -> bool:
    """Whether padding changes no match, and all costs of ground truths are finite (which reads the device once)."""
    num_queries, num_gts = costs.shape[2:]
    if k * num_gts > num_queries:
        return False
    padding = _padding(costs, counts)
    return bool((costs.isfinite() | padding[:, None]).all())


def match_on_device(solve: Callable, costs: Tensor, counts: Sequence[int], k: int = 1) -> Matches:
    """Solve all problems of a step at once.

    A row of padding costs the same with every query and there are queries enough, so that it takes one that is left.

    Args:
        solve (Callable): See :func:`load_solver`.
        costs (Tensor): Costs that :func:`can_solve`, (L, B, Q, G).
        counts (Sequence[int]): Number of ground truths per image, (B, ).
        k (int): Predictions per ground truth.

    Returns:
        Matches: ``k * counts[b]`` pairs for image b in each layer.
    """
    num_layers, num_images, num_queries, num_gts = costs.shape
    rows = costs.detach().transpose(2, 3).masked_fill(_padding(costs, counts)[..., None], 0)
    query = solve(rows.repeat(1, 1, k, 1).flatten(0, 1))  # (L * B, k * G)
    problem = torch.arange(num_layers * num_images, device=costs.device)
    pred = query + num_queries * problem[:, None]
    # Which rows belong to ground truths is known without the device: as if each were a denoising query.
    row = Matches.known(counts, num_gts, k, num_layers, costs.device)
    return replace(row, pred=pred.flatten()[row.pred])


def _padding(costs: Tensor, counts: Sequence[int]) -> Tensor:
    """Return which columns of the costs are padding, (B, G), on their device."""
    padding = torch.from_numpy(~is_gt(counts, costs.shape[-1]))
    return padding.to(costs.device, non_blocking=True)
