"""The size that an image gets before a model sees it, and the resizing itself, without torch and OpenCV."""

from collections.abc import Sequence

import numpy as np
from PIL import Image


def shorter_side_size(width: int, height: int, side: int, longest: int) -> tuple[int, int]:
    """Return the width and height of an image whose shorter side is resized to ``side``, as DETR computes them.

    If the longer side would exceed ``longest``, the shorter one is reduced first, and rounded; the longer one follows
    from it and is truncated. So the longer side may still exceed ``longest`` by a pixel: 500 x 247 with 800 and 1333
    becomes 1334 x 659, since round(1333 * 247 / 500) = 659 and int(659 * 500 / 247) = 1334.

    Args:
        width (int): Width of the image in pixels.
        height (int): Height of the image in pixels.
        side (int): Desired shorter side in pixels.
        longest (int): Limit of the longer side in pixels.
    """
    short, long = sorted((width, height))
    # The order of the operations is the authors': another one may round to another pixel.
    if float(long) / float(short) * side > longest:
        side = round(longest * float(short) / float(long))
    if side == short:
        return width, height
    if width < height:
        return side, int(side * height / width)
    return int(side * width / height), side


def fitting_size(width: int, height: int, scale: Sequence[int]) -> tuple[int, int]:
    """Return the largest width and height of the image's shape inside ``scale``, as mmdet's ``Resize`` computes them.

    Args:
        width (int): Width of the image in pixels.
        height (int): Height of the image in pixels.
        scale (Sequence[int]): Limits of the longer and the shorter side in pixels, in any order.
    """
    longest, shortest = max(scale), min(scale)
    factor = min(longest / max(width, height), shortest / min(width, height))
    return int(width * factor + 0.5), int(height * factor + 0.5)


def resize(image: np.ndarray, size: tuple[int, int], kind: str) -> np.ndarray:
    """Resize an image (H, W, 3) of uint8 to (width, height).

    Args:
        image (np.ndarray): The image.
        size (tuple[int, int]): Its new width and height.
        kind (str): 'bilinear' or 'bicubic' for Pillow's filters, which average where the image shrinks; 'cv2' for
            OpenCV's bilinear interpolation, see :func:`resize_bilinear`.
    """
    if size == (image.shape[1], image.shape[0]):
        return image
    if kind == 'cv2':
        return resize_bilinear(image, size)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling[kind.upper()]))


def resize_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image (H, W, 3) of uint8 to (width, height) as OpenCV's bilinear resizing does, within one grey level.

    Every new pixel is interpolated between four old ones, also where the image shrinks.
    """
    width, height = size
    left, right, right_share = _neighbours(image.shape[1], width)
    top, bottom, bottom_share = _neighbours(image.shape[0], height)
    columns = image.astype(np.float32)
    columns = columns[:, left] + right_share[:, None] * (columns[:, right] - columns[:, left])
    rows = columns[top] + bottom_share[:, None, None] * (columns[bottom] - columns[top])
    return np.rint(rows).astype(np.uint8)


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For ``new`` pixels of a line of ``old`` ones: the pixel before, the one after, and the share of the latter."""
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    centres = centres.clip(0, old - 1).astype(np.float32)
    before = np.floor(centres).astype(np.int64)
    after = np.minimum(before + 1, old - 1)
    return before, after, centres - before
