"""OTA's assignment as a transport problem, reduced to the predictions that matter.

A *candidate* of an image is a prediction that at least one of its ground truths may get. Only candidates enter a
problem one by one. All other predictions get the background whatever they cost, so they are one more column with their
summed demand; the plan is the same.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class TransportProblem:
    """The transport problems of b images with M candidates each and up to G ground truths.

    Suppliers are the ground truths and, in the last row, the background. Demanders are the candidates and, in the last
    column, all other predictions together.

    Examples:
        An image with 2 ground truths and 4 predictions. Ground truth 0 wants k = 2 predictions and ground truth 1 wants
        1, which leaves 1 to the background. Prediction 2 is too far from both and so not a candidate: candidates are
        the predictions 0, 1 and 3, the last column is prediction 2. The centre prior does not let ground truth 1 have
        prediction 0, which costs 1e6 more.

        >>> import torch
        >>> from mmdet_setdet.models.assignment import decode_plan, sinkhorn, with_background
        >>> costs = torch.tensor([[[0.5,       0.9,  2.1,  1e6],    # ground truth 0
        ...                        [1e6 + 2.0, 1.1,  0.4,  1e6],    # ground truth 1
        ...                        [1.0,       1.2,  1.5,  0.0]]])  # background
        >>> supply = with_background(torch.tensor([[2, 1]]), num_preds=4)
        >>> supply.tolist()
        [[2.0, 1.0, 1.0]]
        >>> demand = torch.tensor([[1., 1., 1., 1.]])
        >>> plan = sinkhorn(costs, supply, demand, eps=0.1).plan
        >>> (plan * 10).round().div(10).tolist()[0]
        [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]

        The candidates go to the ground truths 0, 0 and 1 (2 would be the background). So of the predictions 0, 1, 2, 3
        ground truth 0 gets the first two, the background the third and ground truth 1 the fourth.

        >>> decode_plan(plan)[:, :-1].tolist()
        [[0, 0, 1]]

    Attributes:
        images (Tensor): Indices of the images in the batch, long, (b, ).
        candidates (Tensor): Indices of the candidates among the N predictions, long, (b, M); N where padded.
        costs (Tensor): Costs of the problem, finite, float32, (b, G + 1, M + 1).
        supply (Tensor): Units per supplier, (b, G + 1); 0 where padded.
        demand (Tensor): Units per demander, (b, M + 1): 1, or 0 where padded, and in the last column a number.
        k (Tensor): Predictions that each ground truth wants, long, (b, G); 0 where padded.
        is_usable (Tensor): Pairs that may be matched, bool, (b, G, M).
        pair_costs (Tensor): Costs of the pairs before the centre prior, as :meth:`OTAAssigner.costs`, (b, G, M).
        ious (Tensor): IoU of the ground truths with the predicted boxes, (b, G, M).
    """

    images: Tensor
    candidates: Tensor
    costs: Tensor
    supply: Tensor
    demand: Tensor
    k: Tensor
    is_usable: Tensor
    pair_costs: Tensor
    ious: Tensor


def group_candidates(is_candidate: Tensor, is_wide: Tensor) -> list[tuple[Tensor, Tensor]]:
    """List the candidates of the images that have any, in at most two groups of images.

    An image is wide if all its predictions are candidates, because a ground truth has no prediction near it. It has
    some ten times as many candidates as others. So wide images are a group of their own, or all others would be padded
    to their width.

    Args:
        is_candidate (Tensor): Bool, (B, N).
        is_wide (Tensor): Bool, (B, ).

    Returns:
        list[tuple[Tensor, Tensor]]: Per group the indices of its images, long, (b, ), and their candidates, long,
        (b, M), padded with N.
    """
    # Read by the host in one copy.
    sizes = torch.stack([is_candidate.sum(1), is_wide], 1).tolist()
    groups = []
    for group in (False, True):
        members = [image for image, (size, wide) in enumerate(sizes) if size and wide == group]
        if members:
            images = torch.tensor(members).to(is_candidate.device, non_blocking=True)
            width = max(sizes[image][0] for image in members)
            groups.append((images, pad_candidates(is_candidate[images], width)))
    return groups


def pad_candidates(is_candidate: Tensor, width: int) -> Tensor:
    """List the candidates of each image, padded with N to ``width``: bool (b, N) -> long (b, width).

    Example with N = 5 predictions and 3 and 1 candidates, so ``width`` is 3. ``place`` is where a prediction goes in
    the list; what is not a candidate goes to place 3, which is cut off::

        is_candidate          place                 candidates
        [1, 0, 0, 1, 1]       [0, 3, 3, 1, 2]       [0, 3, 4]
        [0, 1, 0, 0, 0]       [3, 0, 3, 3, 3]       [1, 5, 5]
    """
    num_images, num_preds = is_candidate.shape
    place = torch.where(is_candidate, is_candidate.cumsum(1) - 1, width)
    index = torch.arange(num_preds, device=place.device).expand_as(place)
    candidates = place.new_full((num_images, width + 1), num_preds)
    return candidates.scatter_(1, place, index)[:, :width]
