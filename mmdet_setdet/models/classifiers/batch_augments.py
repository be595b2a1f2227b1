"""Augmentations of a whole batch after normalisation, on the device: (images, targets) -> (images, targets).

Images are (B, 3, H, W), targets (B, classes) and sum to one. What is given is not changed.
"""
import math

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...registry import MODELS

ERASE_TRIES = 10


@MODELS.register_module()
class EraseRectangles:
    """Fills a rectangle of some images with standard normal noise (random erasing, arXiv 1708.04896).

    Args:
        prob (float): Share of the images.
        area (tuple[float, float]): Range of the rectangle's area, relative to the image's.
        ratio (tuple[float, float]): Range of its height divided by its width, drawn on a logarithmic scale.
    """

    def __init__(self, prob: float = 0.25, area: tuple[float, float] = (0.02, 1 / 3),
                 ratio: tuple[float, float] = (0.3, 1 / 0.3)) -> None:
        self.prob, self.area, self.ratio = prob, area, ratio

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        images = images.clone()
        for image in images:
            if np.random.rand() < self.prob:
                window = image[(slice(None), *self._window(*image.shape[1:]))]
                window.normal_()
        return images, targets

    def _window(self, height: int, width: int) -> tuple[slice, slice]:
        for _ in range(ERASE_TRIES):
            area = height * width * np.random.uniform(*self.area)
            ratio = math.exp(np.random.uniform(*np.log(self.ratio)))
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if h < height and w < width:
                top, left = np.random.randint(height - h + 1), np.random.randint(width - w + 1)
                return slice(top, top + h), slice(left, left + w)
        return slice(0), slice(0)


@MODELS.register_module()
class MixImages:
    """Mixes each image with its counterpart from the other end of the batch, and their targets in the same shares.

    Either by averaging (mixup, arXiv 1710.09412) or by a rectangle taken from the other image (cutmix, 1905.04899): one
    choice, share and rectangle for the whole batch.

    Args:
        mixup (float): Parameter alpha of the beta distribution of the share in mixup; 0 for no mixup.
        cutmix (float): The same for cutmix.
        prob (float): Probability that a batch is mixed.
        cutmix_prob (float): Probability that it is by cutmix, where both are wanted.
    """

    def __init__(self, mixup: float = 0.8, cutmix: float = 1., prob: float = 1., cutmix_prob: float = 0.5) -> None:
        if min(mixup, cutmix) < 0 or not max(mixup, cutmix):
            raise InputError(f'mixup={mixup}, cutmix={cutmix}: at least one must be above 0, none below')
        self.mixup, self.cutmix, self.prob = mixup, cutmix, prob
        self.cutmix_prob = cutmix_prob if mixup and cutmix else float(cutmix > 0)

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if np.random.rand() >= self.prob:
            return images, targets
        if np.random.rand() < self.cutmix_prob:
            window, share = self._window(*images.shape[2:], np.random.beta(self.cutmix, self.cutmix))
            mixed = images.clone()
            mixed[window] = images.flip(0)[window]
        else:
            share = np.random.beta(self.mixup, self.mixup)
            mixed = torch.lerp(images.flip(0), images, share)
        return mixed, torch.lerp(targets.flip(0), targets, share)

    @staticmethod
    def _window(height: int, width: int, share: float) -> tuple[tuple, float]:
        """A rectangle of about ``1 - share`` of the image, cut off at its border, and the share that then is left."""
        h, w = int(height * math.sqrt(1 - share)), int(width * math.sqrt(1 - share))
        top, left = np.random.randint(height) - h // 2, np.random.randint(width) - w // 2
        rows, columns = slice(max(top, 0), min(top + h, height)), slice(max(left, 0), min(left + w, width))
        taken = (rows.stop - rows.start) * (columns.stop - columns.start)
        return (..., rows, columns), 1 - taken / (height * width)
