"""A transport plan in which each prediction takes one object at most: who answers for whom."""
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass
class Matches:
    """Pairs of predictions and objects over L decoder layers and B images, as indices on the device.

    Attributes:
        pred (Tensor): Index into predictions flattened from (L, B, Q), long, (P, ).
        gt (Tensor): Index into ground truths flattened from (B, G), long, (P, ).
        layer (Tensor): The decoder layer of each pair, long, (P, ).
        num_layers (int): L.
    """
    pred: Tensor
    gt: Tensor
    layer: Tensor
    num_layers: int

    @classmethod
    def from_numpy(cls, pred: np.ndarray, gt: np.ndarray, layer: np.ndarray, num_layers: int,
                   device: torch.device) -> 'Matches':
        """Sends the pairs to the device in one copy."""
        indices = torch.from_numpy(np.stack([pred, gt, layer])).to(device, non_blocking=True)
        return cls(*indices, num_layers=num_layers)

    @classmethod
    def known(cls, counts: list[int], num_gts: int, num_groups: int, num_layers: int,
                 device: torch.device) -> 'Matches':
        """The plan known beforehand: query g of each of ``num_groups`` groups answers for object g of its image.

        Args:
            counts (list[int]): Objects of each of the B images.
            num_gts (int): G, the number that they are padded to; an image has ``num_groups * G`` queries.
            num_groups (int): Groups of queries.
            num_layers (int): Decoder layers.
            device (torch.device): Where the plan is wanted.
        """
        image, g = np.nonzero(np.arange(num_gts) < np.asarray(counts)[:, None])
        layer, group = np.indices((num_layers, num_groups)).reshape(2, -1, 1)
        pred = ((layer * len(counts) + image) * num_groups + group) * num_gts + g
        gt, layer = np.broadcast_to(image * num_gts + g, pred.shape), np.broadcast_to(layer, pred.shape)
        return cls.from_numpy(pred.ravel(), gt.ravel(), layer.ravel(), num_layers, device)

    @property
    def num_pairs(self) -> Tensor:
        """Tensor: The number of pairs in each decoder layer, (L, )."""
        return self.sum_by_layer(torch.ones_like(self.layer))

    def sum_by_layer(self, values: Tensor) -> Tensor:
        """Adds up one value a pair, (P, ), within each decoder layer: (L, )."""
        # Without any pair mmdet's losses answer with a single zero, of no dimension.
        return values.new_zeros(self.num_layers).index_add(0, self.layer, values.expand(len(self.layer)))
