"""Hungarian matching without leaving the GPU, by torch-linear-assignment where it is installed."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from .matches import Matches


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
    is_gt = torch.from_numpy(_is_gt(counts, num_gts)).to(costs.device, non_blocking=True)
    return bool((costs.isfinite() | ~is_gt[:, None]).all())


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
    is_gt = _is_gt(counts, num_gts)
    padding = torch.from_numpy(~is_gt[..., None]).to(costs.device, non_blocking=True)
    rows = costs.detach().transpose(2, 3).masked_fill(padding, 0)
    rows = rows.repeat_interleave(k, dim=2).flatten(0, 1)
    query = solve(rows.contiguous())  # (L * B, G * k)

    # Which rows belong to ground truths is known without the device.
    image, row = np.nonzero(is_gt.repeat(k, axis=1))
    layer = np.arange(num_layers)[:, None]
    problem = layer * num_images + image
    indices = [problem, row, image * num_gts + row // k, layer]
    indices = np.stack([index.ravel() for index in np.broadcast_arrays(*indices)])
    indices = torch.from_numpy(indices).to(costs.device, non_blocking=True)
    problem, row, gt, layer = indices
    pred = problem * num_queries + query[problem, row]
    return Matches(pred, gt, layer, num_layers=num_layers, num_in_last=len(image))


def _is_gt(counts: Sequence[int], num_gts: int) -> np.ndarray:
    """Return which of the padded ground truths exist, (B, G)."""
    return np.arange(num_gts) < np.asarray(counts)[:, None]
