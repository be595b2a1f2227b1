"""From a picture to the tensor that an exported model takes: reading, resizing, normalising, padding."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import InputError
from .addresses import fetched, is_address
from .metadata import ModelInfo
from .resizing import fitting_size, resize, shorter_side_size

IMAGE_ENDINGS = {'.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff'}
Picture = str | Path | Image.Image | np.ndarray


def read_image(picture: Picture) -> np.ndarray:
    """Return a picture as uint8 (H, W, 3), red, green, blue, turned as its EXIF data say.

    Args:
        picture (str | Path | Image | np.ndarray): A file, an address (``http://`` or ``https://``), a Pillow image,
            or an array (H, W, 3) that already is what this function returns.

    Raises:
        InputError: The file is missing or no picture, the address cannot be fetched, the array has another shape or
            type, or the picture is so large that it looks like an attack (Pillow's limit,
            ``PIL.Image.MAX_IMAGE_PIXELS``).
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise InputError(
                f'an image must be an array of uint8 of shape (height, width, 3), got {picture.dtype} '
                f'{picture.shape}'
            )
        return picture
    if isinstance(picture, Image.Image):
        return _to_rgb(picture)
    file = fetched(picture) if is_address(picture) else picture
    try:
        with Image.open(file) as image:
            return _to_rgb(image)
    except FileNotFoundError:
        raise InputError(f'{picture}: no such image file') from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f'{picture}: not an image that can be read ({error})') from error
    except Image.DecompressionBombError as error:
        raise InputError(f'{picture}: the image is too large ({error})') from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I'):
        # 16 bits a pixel; Pillow would cut off what exceeds 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.asarray(image.convert('RGB'))


def resized(image: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Resize an image (H, W, 3) by the rule of the model; if its input has a fixed size, so that it fits into it."""
    height, width = image.shape[:2]
    if info.resize == 'crop':
        side, crop = info.scale
        return _middle(image, side, crop, info.filter)
    if info.resize == 'detr':
        size = shorter_side_size(width, height, min(info.scale), max(info.scale))
    else:
        size = fitting_size(width, height, info.scale)
    limits = (info.fixed.get('width', size[0]), info.fixed.get('height', size[1]))
    factor = min(limits[0] / size[0], limits[1] / size[1])
    if factor < 1:
        size = (int(size[0] * factor), int(size[1] * factor))
    size = (max(size[0], 1), max(size[1], 1))
    return resize(image, size, info.filter)


def _middle(image: np.ndarray, side: int, crop: int, kind: str) -> np.ndarray:
    """Resize the shorter side to ``side`` and return the middle ``crop`` x ``crop`` pixels."""
    height, width = image.shape[:2]
    factor = side / min(height, width)
    size = (int(width * factor + 0.5), int(height * factor + 0.5))
    image = resize(image, size, kind)
    left = (image.shape[1] - crop) // 2
    top = (image.shape[0] - crop) // 2
    return image[top : top + crop, left : left + crop]


def to_batch(images: Sequence[np.ndarray], info: ModelInfo) -> tuple[np.ndarray, np.ndarray]:
    """Normalise resized images (H, W, 3) and pad them to one size.

    Returns:
        tuple[np.ndarray, np.ndarray]: ``images`` float32 (B, 3, H, W), zeros where there is padding, and ``sizes``
        int64 (B, 2), the height and width of each image without padding.
    """
    sizes = np.array([image.shape[:2] for image in images], dtype=np.int64)
    divisor = info.size_divisor
    height, width = (int(size) for size in -(-sizes.max(0) // divisor) * divisor)
    height = info.fixed.get('height', height)
    width = info.fixed.get('width', width)
    batch = np.zeros((len(images), 3, height, width), dtype=np.float32)
    mean = np.array(info.mean, dtype=np.float32)
    std = np.array(info.std, dtype=np.float32)
    for padded, image in zip(batch, images):
        pixels = image if info.rgb else image[..., ::-1]
        pixels = (pixels.astype(np.float32) - mean) / std
        padded[:, : image.shape[0], : image.shape[1]] = pixels.transpose(2, 0, 1)
    return batch, sizes
