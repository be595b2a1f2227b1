"""Which prediction is assigned to which ground truth, for all decoder layers and images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def is_gt(counts: Sequence[int], num_gts: int) -> np.ndarray:
    """Return which of the ``num_gts`` ground truths per image are no padding, (B, G)."""
    return np.arange(num_gts) < np.asarray(counts)[:, None]


@dataclass
class Matches:
    """P pairs of a prediction and a ground truth over L decoder layers and B images, as indices on the device.

    A prediction is in one pair at most, a ground truth may be in several.

    Attributes:
        pred (Tensor): Index into the predictions flattened from (L, B, Q), long, (P, ).
        gt (Tensor): Index into the ground truths flattened from (B, G), long, (P, ).
        layer (Tensor): The decoder layer of each pair, long, (P, ).
        num_layers (int): L.
        num_in_last (int, optional): Number of pairs in the last layer, if known to the host; they come last.
    """

    pred: Tensor
    gt: Tensor
    layer: Tensor
    num_layers: int
    num_in_last: int | None = None

    @classmethod
    def from_numpy(
        cls,
        pred: np.ndarray,
        gt: np.ndarray,
        layer: np.ndarray,
        num_layers: int,
        device: torch.device,
    ) -> 'Matches':
        """Send the pairs, ordered by layer, to the device in one copy."""
        indices = torch.from_numpy(np.stack([pred, gt, layer]))
        indices = indices.to(device, non_blocking=True)
        num_in_last = np.count_nonzero(layer == num_layers - 1)
        return cls(*indices, num_layers=num_layers, num_in_last=num_in_last)

    @classmethod
    def known(
        cls,
        counts: list[int],
        num_gts: int,
        num_groups: int,
        num_layers: int,
        device: torch.device,
        group_size: int | None = None,
    ) -> 'Matches':
        """Return the matches of denoising queries: query g of every group belongs to ground truth g of its image.

        Example: two images with 2 and 1 ground truths (``counts=[2, 1]``), so G is 2; two groups, so each image has
        4 queries; one decoder layer. The numbers are the flat indices that a :class:`Matches` holds::

                              image 0                  image 1
                         group 0   group 1        group 0   group 1
            query        0    1    2    3         4    5    6    7
            ground       0    1    0    1         2    -    2    -       (ground truth 3 is padding)
            truth

            pred  [0, 1, 4, 2, 3, 6]
            gt    [0, 1, 2, 0, 1, 2]

        The pairs are ordered by layer, then by group, then by image. The second layer would add the same pairs with
        8 more in ``pred``.

        Args:
            counts (list[int]): Number of ground truths per image, (B, ).
            num_gts (int): G, the number to which they are padded.
            num_groups (int): Number of query groups.
            num_layers (int): Number of decoder layers L.
            device (torch.device): Device of the result.
            group_size (int, optional): Number of queries per group, G by default. Those after the first G are not
                matched.
        """
        group_size = num_gts if group_size is None else group_size
        image, g = np.nonzero(
            is_gt(counts, num_gts)
        )  # the image of each ground truth and its index there
        # All layers x groups x ground truths, which broadcast against each other.
        layer = np.arange(num_layers)[:, None, None]
        group = np.arange(num_groups)[:, None]
        problem = layer * len(counts) + image
        pred = (problem * num_groups + group) * group_size + g
        gt = np.broadcast_to(image * num_gts + g, pred.shape)
        layer = np.broadcast_to(layer, pred.shape)
        return cls.from_numpy(
            pred=pred.ravel(),
            gt=gt.ravel(),
            layer=layer.ravel(),
            num_layers=num_layers,
            device=device,
        )

    def of_last_layer(self, num_predictions: int) -> 'Matches':
        """Return the pairs of the last decoder layer as those of a single layer, without a device sync.

        Args:
            num_predictions (int): Predictions of a layer in all images, B x Q.
        """
        start = len(self.pred) - self.num_in_last
        pred = self.pred[start:] - (self.num_layers - 1) * num_predictions
        layer = torch.zeros_like(pred)
        return Matches(pred, self.gt[start:], layer, num_layers=1, num_in_last=self.num_in_last)

    @property
    def num_pairs(self) -> Tensor:
        """Tensor: The number of pairs per decoder layer, (L, )."""
        return self.sum_by_layer(torch.ones_like(self.layer))

    def sum_by_layer(self, values: Tensor) -> Tensor:
        """Sum one value per pair, (P, ), within each decoder layer: (L, )."""
        # Without any pair mmdet's losses return a single zero without dimensions.
        values = values.expand(len(self.layer))
        return values.new_zeros(self.num_layers).index_add(0, self.layer, values)
