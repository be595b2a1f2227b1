"""Augmentations of a whole batch after normalisation, on its device.

Each is a function (images, targets) -> (images, targets) of images (B, 3, H, W) and targets (B, K), which sum to one
per image. The arguments are not modified.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..registry import MODELS

ERASE_TRIES = 10

Rectangle = tuple[slice, slice]


@MODELS.register_module()
class EraseRectangles:
    """Fill a rectangle of some images with standard normal noise (random erasing, arXiv 1708.04896).

    Args:
        prob (float): Probability per image.
        area (tuple[float, float]): Range of the rectangle's area, relative to the image's.
        ratio (tuple[float, float]): Range of its height divided by its width, drawn on a logarithmic scale.
    """

    def __init__(
        self,
        prob: float = 0.25,
        area: tuple[float, float] = (0.02, 1 / 3),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
    ) -> None:
        self.prob = prob
        self.area = area
        self.ratio = ratio

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        images = images.clone()
        for image in images:
            if np.random.rand() < self.prob:
                rows, columns = self._rectangle(*image.shape[1:])
                image[:, rows, columns].normal_()
        return images, targets

    def _rectangle(self, height: int, width: int) -> Rectangle:
        """Draw a rectangle; an empty one if none of the drawn ones fits into the image."""
        for _ in range(ERASE_TRIES):
            area = height * width * np.random.uniform(*self.area)
            ratio = math.exp(np.random.uniform(*np.log(self.ratio)))
            h = round(math.sqrt(area * ratio))
            w = round(math.sqrt(area / ratio))
            if h < height and w < width:
                top = np.random.randint(height - h + 1)
                left = np.random.randint(width - w + 1)
                return slice(top, top + h), slice(left, left + w)
        return slice(0), slice(0)


@MODELS.register_module()
class MixImages:
    """Mix each image with its counterpart from the other end of the batch, and their targets in the same shares.

    Either by averaging (mixup, arXiv 1710.09412) or by pasting a rectangle of the other image (cutmix, arXiv
    1905.04899). The choice, the share and the rectangle are drawn once per batch.

    Args:
        mixup (float): Parameter alpha of the beta distribution from which the share is drawn in mixup; 0: no mixup.
        cutmix (float): The same for cutmix.
        prob (float): Probability that a batch is mixed.
        cutmix_prob (float): Probability that a mixed batch is mixed by cutmix, if both are enabled.

    Raises:
        InputError: Both are 0, or one is negative.
    """

    def __init__(
        self,
        mixup: float = 0.8,
        cutmix: float = 1.0,
        prob: float = 1.0,
        cutmix_prob: float = 0.5,
    ) -> None:
        if min(mixup, cutmix) < 0 or not max(mixup, cutmix):
            raise InputError(
                f'mixup={mixup}, cutmix={cutmix}: at least one must be above 0, none below'
            )
        self.mixup = mixup
        self.cutmix = cutmix
        self.prob = prob
        if not mixup:
            cutmix_prob = 1.0
        elif not cutmix:
            cutmix_prob = 0.0
        self.cutmix_prob = cutmix_prob

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if np.random.rand() >= self.prob:
            return images, targets
        others = images.flip(0)
        if np.random.rand() < self.cutmix_prob:
            share = np.random.beta(self.cutmix, self.cutmix)
            rows, columns, share = self._rectangle(*images.shape[2:], share)
            mixed = images.clone()
            mixed[..., rows, columns] = others[..., rows, columns]
        else:
            share = np.random.beta(self.mixup, self.mixup)
            mixed = torch.lerp(others, images, share)
        return mixed, torch.lerp(targets.flip(0), targets, share)

    @staticmethod
    def _rectangle(height: int, width: int, share: float) -> tuple[slice, slice, float]:
        """Draw a rectangle of about ``1 - share`` of the image, clipped to the image.

        Returns:
            tuple: Its rows, its columns, and the share of the image that lies outside of it.
        """
        h = int(height * math.sqrt(1 - share))
        w = int(width * math.sqrt(1 - share))
        top = np.random.randint(height) - h // 2
        left = np.random.randint(width) - w // 2
        rows = slice(max(top, 0), min(top + h, height))
        columns = slice(max(left, 0), min(left + w, width))
        pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
        return rows, columns, 1 - pasted / (height * width)
