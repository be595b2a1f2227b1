"""RandAugment (arXiv 1909.13719) on Pillow, in the form that vision transformers are trained with."""

from collections.abc import Callable

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageEnhance, ImageOps

from ..registry import TRANSFORMS

MAX_MAGNITUDE = 10.0
# Change of the image at full strength.
MAX_DEGREES = 30.0
MAX_SHEAR = 0.3
MAX_SHIFT = 0.45  # relative to the side
MAX_ENHANCEMENT = 0.9
MAX_LOST_BITS = 4
MAX_SOLARIZED = 256
MAX_ADDED = 110

Colour = tuple[int, int, int]
# A function of an RGB image, a strength in [-1, 1] and the colour of pixels outside the image.
Operation = Callable[[Image.Image, float, Colour], Image.Image]


def _without_strength(function: Callable[[Image.Image], Image.Image]) -> Operation:
    """Make an operation of a function that has no strength."""

    def apply(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
        return function(image)

    return apply


def _warp(coefficients: Callable) -> Operation:
    """Make an affine operation of ``coefficients(strength, width, height)``.

    For coefficients (a, b, c, d, e, f) the result at (x, y) is the image at (a x + b y + c, d x + e y + f).
    """

    def apply(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            coefficients(strength, *image.size),
            resample=Image.Resampling.BICUBIC,
            fillcolor=fill,
        )

    return apply


def _enhance(enhancer: type) -> Operation:
    """Make an operation that changes a property: strength 0 keeps it, 1 almost doubles it, -1 almost removes it."""

    def apply(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
        factor = max(0.1, 1 + MAX_ENHANCEMENT * strength)
        return enhancer(image).enhance(factor)

    return apply


def _map_values(image: Image.Image, table: list[int]) -> Image.Image:
    """Replace each value, 0 to 255, of each channel by its entry in a table."""
    return image.point(table * len(image.getbands()))


def _rotate(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
    return image.rotate(strength * MAX_DEGREES, resample=Image.Resampling.BICUBIC, fillcolor=fill)


def _posterize(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
    # ImageOps.posterize refuses to keep no bit at all, which is a black image, at full strength.
    num_kept = 4 - int(abs(strength) * MAX_LOST_BITS)
    num_lost = 8 - num_kept
    return _map_values(image, [value >> num_lost << num_lost for value in range(256)])


def _solarize(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
    threshold = 256 - int(abs(strength) * MAX_SOLARIZED)
    return ImageOps.solarize(image, threshold)


def _add_to_dark(image: Image.Image, strength: float, fill: Colour) -> Image.Image:
    added = int(abs(strength) * MAX_ADDED)
    return _map_values(image, [value + added if value < 128 else value for value in range(256)])


OPERATIONS: dict[str, Operation] = dict(
    auto_contrast=_without_strength(ImageOps.autocontrast),
    equalize=_without_strength(ImageOps.equalize),
    invert=_without_strength(ImageOps.invert),
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
    """Apply some of :data:`OPERATIONS` at random, with a strength that grows with ``magnitude``.

    The defaults are timm's ``rand-m9-mstd0.5-inc1`` with ImageNet's mean as the fill colour. mmdet's ``RandAugment``
    adds no noise to the magnitude and computes some operations differently.

    Args:
        num_operations (int): Operations drawn per image, with replacement.
        prob (float): Probability that a drawn operation is applied.
        magnitude (float): Mean strength, 0 to 10.
        magnitude_std (float): Standard deviation of the strength, which is then clipped to 0 to 10.
        fill (tuple[int, int, int]): RGB colour of pixels outside the image.
    """

    def __init__(
        self,
        num_operations: int = 2,
        prob: float = 0.5,
        magnitude: float = 9.0,
        magnitude_std: float = 0.5,
        fill: Colour = (124, 116, 104),
    ) -> None:
        self.num_operations = num_operations
        self.prob = prob
        self.magnitude = magnitude
        self.magnitude_std = magnitude_std
        self.fill = tuple(fill)

    def transform(self, results: dict) -> dict:
        """Replace ``img`` (uint8, H x W x 3, BGR)."""
        drawn = np.random.choice(list(OPERATIONS), self.num_operations)
        applied = [name for name in drawn if np.random.rand() < self.prob]
        if applied:
            image = Image.fromarray(results['img'][..., ::-1])
            for name in applied:
                operation = OPERATIONS[name]
                image = operation(image, self.strength(), self.fill)
            results['img'] = np.asarray(image)[..., ::-1]
        return results

    def strength(self) -> float:
        """Draw a strength in [-1, 1], with either sign equally often."""
        magnitude = np.random.normal(self.magnitude, self.magnitude_std)
        magnitude = np.clip(magnitude, 0, MAX_MAGNITUDE)
        return float(magnitude) / MAX_MAGNITUDE * np.random.choice([-1, 1])
