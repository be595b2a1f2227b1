"""RandAugment (arXiv 1909.13719) on Pillow, in the form that vision transformers are trained with."""
from collections.abc import Callable

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageEnhance, ImageOps

from ..registry import TRANSFORMS

MAX_MAGNITUDE = 10.
MAX_DEGREES, MAX_SHEAR, MAX_SHIFT, MAX_ENHANCEMENT = 30., 0.3, 0.45, 0.9
MAX_LOST_BITS, MAX_SOLARIZED, MAX_ADDED = 4, 256, 110

Colour = tuple[int, int, int]


def _warp(coefficients: Callable) -> Callable:
    """An operation that samples the image at (a x + b y + c, d x + e y + f), of ``coefficients(strength, w, h)``."""
    def apply(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, coefficients(strength, *image.size),
                               resample=Image.Resampling.BICUBIC, fillcolor=fill)
    return apply


def _rotate(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
    return image.rotate(strength * MAX_DEGREES, resample=Image.Resampling.BICUBIC, fillcolor=fill)


def _enhance(enhancer: type) -> Callable:
    """An operation that moves from the image (strength 0) away from, or towards, its version without the property."""
    return lambda image, strength, fill: enhancer(image).enhance(max(0.1, 1 + MAX_ENHANCEMENT * strength))


def _posterize(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
    kept = 4 - int(abs(strength) * MAX_LOST_BITS)
    # Not ImageOps.posterize: it refuses to keep no bit, which is a black image at full strength.
    return image.point([value >> (8 - kept) << (8 - kept) for value in range(256)] * len(image.getbands()))


def _solarize(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
    return ImageOps.solarize(image, 256 - int(abs(strength) * MAX_SOLARIZED))


def _add_to_dark(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
    added = int(abs(strength) * MAX_ADDED)
    table = [value + added if value < 128 else value for value in range(256)]
    return image.point(table * len(image.getbands()))


# Each takes an RGB image, a strength in [-1, 1] and the colour of pixels from outside.
OPERATIONS: dict[str, Callable[[Image.Image, float, Colour], Image.Image]] = dict(
    auto_contrast=lambda image, strength, fill: ImageOps.autocontrast(image),
    equalize=lambda image, strength, fill: ImageOps.equalize(image),
    invert=lambda image, strength, fill: ImageOps.invert(image),
    rotate=_rotate,
    posterize=_posterize,
    solarize=_solarize,
    add_to_dark=_add_to_dark,
    color=_enhance(ImageEnhance.Color),
    contrast=_enhance(ImageEnhance.Contrast),
    brightness=_enhance(ImageEnhance.Brightness),
    sharpness=_enhance(ImageEnhance.Sharpness),
    shear_x=_warp(lambda strength, w, h: (1, strength * MAX_SHEAR, 0, 0, 1, 0)),
    shear_y=_warp(lambda strength, w, h: (1, 0, 0, strength * MAX_SHEAR, 1, 0)),
    translate_x=_warp(lambda strength, w, h: (1, 0, strength * MAX_SHIFT * w, 0, 1, 0)),
    translate_y=_warp(lambda strength, w, h: (1, 0, 0, 0, 1, strength * MAX_SHIFT * h)),
)


@TRANSFORMS.register_module()
class PillowRandAugment(BaseTransform):
    """Applies some of :data:`OPERATIONS` at random, the stronger the larger ``magnitude``.

    The defaults are what timm calls ``rand-m9-mstd0.5-inc1`` at an image mean of ImageNet's. mmdet's ``RandAugment``
    has no noise of the magnitude and computes some operations differently.

    Args:
        num_operations (int): Operations drawn an image, with replacement.
        prob (float): Probability that a drawn operation is applied.
        magnitude (float): Mean strength, 0 to 10.
        magnitude_std (float): Standard deviation of the strength, which is then kept within 0 and 10.
        fill (tuple[int, int, int]): RGB of pixels from outside the image.
    """

    def __init__(self, num_operations: int = 2, prob: float = 0.5, magnitude: float = 9., magnitude_std: float = 0.5,
                 fill: Colour = (124, 116, 104)) -> None:
        self.num_operations, self.prob = num_operations, prob
        self.magnitude, self.magnitude_std, self.fill = magnitude, magnitude_std, tuple(fill)

    def transform(self, results: dict) -> dict:
        """Replaces ``img`` (uint8, H x W x 3, BGR)."""
        chosen = [name for name in np.random.choice(list(OPERATIONS), self.num_operations)
                  if np.random.rand() < self.prob]
        if chosen:
            image = Image.fromarray(results['img'][..., ::-1])
            for name in chosen:
                image = OPERATIONS[name](image, self.strength(), self.fill)
            results['img'] = np.asarray(image)[..., ::-1]
        return results

    def strength(self) -> float:
        """A random strength in [-1, 1], of either sign as often."""
        magnitude = np.clip(np.random.normal(self.magnitude, self.magnitude_std), 0, MAX_MAGNITUDE)
        return float(magnitude) / MAX_MAGNITUDE * np.random.choice([-1, 1])
