"""Transforms of images with one label each; mmcv's load, flip and crop the centre."""

import math
from collections.abc import Sequence

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform, to_tensor
from mmengine.structures import BaseDataElement

from ..registry import TRANSFORMS

CROP_TRIES = 10
META_KEYS = ('sample_idx', 'img_path', 'ori_shape', 'img_shape')


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Crop a random part of the image and resize it to a square by Pillow (Inception's augmentation).

    The area and the logarithm of the aspect ratio are drawn uniformly, then the place. If none of ten drawn parts fits
    into the image, the largest centred part with an allowed ratio is cropped.

    Args:
        size (int): Side of the result in pixels.
        area (tuple[float, float]): Range of the part's area, relative to the image's.
        ratio (tuple[float, float]): Range of the part's width divided by its height.
        interpolation (str): Pillow's filter, such as ``'bicubic'`` or ``'bilinear'``; it averages when reducing.
    """

    def __init__(
        self,
        size: int,
        area: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
    ) -> None:
        self.size = size
        self.area = area
        self.ratio = ratio
        self.interpolation = interpolation

    def window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Draw a part of an image: left, top, width and height in pixels."""
        for _ in range(CROP_TRIES):
            area = width * height * np.random.uniform(*self.area)
            ratio = math.exp(np.random.uniform(*np.log(self.ratio)))
            w = round(math.sqrt(area * ratio))
            h = round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left = np.random.randint(width - w + 1)
                top = np.random.randint(height - h + 1)
                return left, top, w, h
        narrowest, widest = self.ratio
        w = min(width, round(height * widest))
        h = min(height, round(width / narrowest))
        return (width - w) // 2, (height - h) // 2, w, h

    def transform(self, results: dict) -> dict:
        """Replace ``img`` (uint8, H x W x 3) and ``img_shape``."""
        image = results['img']
        height, width = image.shape[:2]
        left, top, w, h = self.window(width, height)
        results['img'] = mmcv.imresize(
            image[top : top + h, left : left + w],
            size=(self.size, self.size),
            interpolation=self.interpolation,
            backend='pillow',
        )
        results['img_shape'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class PackClassInputs(BaseTransform):
    """Pack an image for :class:`ImageClassifier`: ``inputs`` (uint8, 3 x H x W) and ``data_samples`` with ``gt_label``.

    The label stays a Python int, since a tensor would be copied to the device once per image.

    Args:
        meta_keys (Sequence[str]): Keys of the results that become meta information of the data sample, if present.
    """

    def __init__(self, meta_keys: Sequence[str] = META_KEYS) -> None:
        self.meta_keys = meta_keys

    def transform(self, results: dict) -> dict:
        """Pack ``img`` and, if present, ``gt_label``."""
        metainfo = {key: results[key] for key in self.meta_keys if key in results}
        sample = BaseDataElement(metainfo=metainfo)
        if 'gt_label' in results:
            sample.gt_label = results['gt_label']
        channels_first = np.ascontiguousarray(results['img'].transpose(2, 0, 1))
        return dict(inputs=to_tensor(channels_first), data_samples=sample)
