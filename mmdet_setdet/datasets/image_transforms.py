"""Transforms of images with one label each; loading, flipping and cropping the centre are mmcv's."""
import math
from collections.abc import Sequence

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform, to_tensor
from mmengine.structures import BaseDataElement

from ..registry import TRANSFORMS

CROP_TRIES = 10


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Takes a random part of the image and resizes it to a square by Pillow (Inception's augmentation).

    Area and logarithm of the aspect ratio are drawn evenly, then the place. If that fits into the image in none of ten
    tries, the largest centred part of an allowed ratio is taken.

    Args:
        size (int): Side of the result in pixels.
        area (tuple[float, float]): Range of the part's area, relative to the image's.
        ratio (tuple[float, float]): Range of the part's width divided by its height.
        interpolation (str): ``'bicubic'``, ``'bilinear'``, ... of Pillow, which averages when it makes smaller.
    """

    def __init__(self, size: int, area: tuple[float, float] = (0.08, 1.), ratio: tuple[float, float] = (3 / 4, 4 / 3),
                 interpolation: str = 'bicubic') -> None:
        self.size, self.area, self.ratio, self.interpolation = size, area, ratio, interpolation

    def window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """A random part (left, top, width, height) of an image, in pixels."""
        for _ in range(CROP_TRIES):
            area = width * height * np.random.uniform(*self.area)
            ratio = math.exp(np.random.uniform(*np.log(self.ratio)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return np.random.randint(width - w + 1), np.random.randint(height - h + 1), w, h
        w, h = min(width, round(height * self.ratio[1])), min(height, round(width / self.ratio[0]))
        return (width - w) // 2, (height - h) // 2, w, h

    def transform(self, results: dict) -> dict:
        """Replaces ``img`` (uint8, H x W x 3) and ``img_shape``."""
        image = results['img']
        left, top, width, height = self.window(image.shape[1], image.shape[0])
        results['img'] = mmcv.imresize(image[top:top + height, left:left + width], (self.size, self.size),
                                       interpolation=self.interpolation, backend='pillow')
        results['img_shape'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class PackClassInputs(BaseTransform):
    """Makes what :class:`ImageClassifier` takes: ``inputs`` (uint8, 3 x H x W) and ``data_samples`` with ``gt_label``.

    The label stays a Python int: a tensor would be copied to the device for every image.

    Args:
        meta_keys (Sequence[str]): What of the results becomes meta information of the data sample, if it is there.
    """

    def __init__(self, meta_keys: Sequence[str] = ('sample_idx', 'img_path', 'ori_shape', 'img_shape')) -> None:
        self.meta_keys = meta_keys

    def transform(self, results: dict) -> dict:
        """Packs ``img`` and, if it is there, ``gt_label``."""
        sample = BaseDataElement(metainfo={key: results[key] for key in self.meta_keys if key in results})
        if 'gt_label' in results:
            sample.gt_label = results['gt_label']
        return dict(inputs=to_tensor(np.ascontiguousarray(results['img'].transpose(2, 0, 1))), data_samples=sample)
