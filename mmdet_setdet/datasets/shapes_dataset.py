"""A detection data set without files: each image is painted when it is loaded."""

import json
from dataclasses import fields
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode

import cv2
import numpy as np
from mmdet.datasets import BaseDetDataset
from mmengine.fileio import BaseStorageBackend
from pycocotools import mask as coco_mask

from ..errors import InputError
from ..mmengine_patches import require
from ..registry import DATASETS
from .generators import CLASSES, PALETTE, PlacedShape, ShapeScenes

PREFIX = 'shapes'
NUM_CACHED = 8192


def scene_uri(scenes: ShapeScenes, index: int) -> str:
    """Name an image such that it can be painted anywhere: ``shapes://seed=0/000012.png``."""
    settings = {}
    for field in fields(scenes):
        value = getattr(scenes, field.name)
        if field.name == 'seed' or value != field.default:
            settings[field.name] = json.dumps(value)
    return f'{PREFIX}://{urlencode(settings)}/{index:06d}.png'


@lru_cache(maxsize=64)
def _scenes(query: str) -> ShapeScenes:
    return ShapeScenes(**{name: json.loads(value) for name, value in parse_qsl(query)})


@lru_cache(maxsize=NUM_CACHED)  # 400 MB at 128 pixels; painting costs ten times as much as decoding
def _png(query: str, index: int) -> bytes:
    image = _scenes(query).render(index)
    _, encoded = cv2.imencode('.png', image, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    return encoded.tobytes()


@lru_cache(maxsize=NUM_CACHED)
def _layout(scenes: ShapeScenes, index: int) -> list[PlacedShape]:
    return scenes.layout(index)


class ShapesBackend(BaseStorageBackend):
    """mmengine's file backend for names that start with ``shapes://``: reading such a file paints it.

    The last few thousand images are cached, so that a small training set is painted once. With this backend mmdet's
    LoadImageFromFile, inferencers and visualisation hook work on images that are in no file.
    """

    def get(self, filepath: str) -> bytes:
        """Return the image as PNG bytes.

        Raises:
            FileNotFoundError: The name is not one of :func:`scene_uri`.
        """
        try:
            path = str(filepath).split('://', 1)[1]
            query, name = path.split('/')
            return _png(query, int(name.split('.')[0]))
        except (ValueError, TypeError, IndexError) as error:
            raise FileNotFoundError(
                f'{filepath!r} names no generated image (shapes://seed=0/000012.png does): {error}'
            ) from error

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """Not supported: the files are images."""
        raise TypeError(f'{filepath!r} is an image and cannot be read as text.')


@DATASETS.register_module()
class ShapesDataset(BaseDetDataset):
    """Overlapping textured shapes of random size, rotation and colour on textured backgrounds; some images are empty.

    A box is the tight extent of the shape's pixels inside the image, including those hidden by other shapes. Every
    painted shape is annotated. Colour and texture are independent of the class. Classes are selected as in any data
    set of mmdet, by ``metainfo=dict(classes=('circle', 'star'))``.

    Evaluate with ``CocoMetric(ann_file=None)`` and ``'instances'`` among the ``meta_keys`` of PackDetInputs, so that
    the metric reads the ground truth from the data samples. Use different seeds for training and evaluation.

    Args:
        num_images (int): Length of the data set.
        seed, image_size, min_objects, max_objects, empty_ratio, object_size, min_visible: See :class:`ShapeScenes`.
        with_mask (bool): Whether instances have a mask (RLE, the shape's full extent inside the image).
        **kwargs: Arguments of BaseDetDataset. ``filter_cfg`` may hold ``filter_empty_gt`` and ``min_size``, as for
            COCO.

    Raises:
        InputError: An argument is out of range.
    """

    METAINFO = dict(classes=CLASSES, palette=list(PALETTE))

    def __init__(
        self,
        num_images: int,
        seed: int = 0,
        image_size: int | tuple[int, int] = 128,
        min_objects: int = 1,
        max_objects: int = 6,
        empty_ratio: float = 0.05,
        object_size: tuple[float, float] = (0.12, 0.6),
        min_visible: float = 0.35,
        with_mask: bool = False,
        **kwargs,
    ) -> None:
        if num_images < 1:
            raise InputError(f'num_images={num_images}: ShapesDataset needs at least one image.')
        require('generated_images', 'ShapesDataset')
        self.num_images = num_images
        self.with_mask = with_mask
        self._settings = dict(
            seed=seed,
            image_size=image_size,
            min_objects=min_objects,
            max_objects=max_objects,
            empty_ratio=empty_ratio,
            object_size=object_size,
            min_visible=min_visible,
        )
        super().__init__(**kwargs)

    @property
    def scenes(self) -> ShapeScenes:
        """ShapeScenes: The scenes that the images are painted from."""
        return ShapeScenes(classes=tuple(self.metainfo['classes']), **self._settings)

    def load_data_list(self) -> list[dict]:
        """Return names and sizes only; :meth:`get_data_info` places the shapes, image by image."""
        scenes = self.scenes
        data_list = []
        for index in range(self.num_images):
            width, height, has_objects = scenes.outline(index)
            info = dict(
                img_id=index,
                img_path=scene_uri(scenes, index),
                width=width,
                height=height,
                has_objects=has_objects,
            )
            data_list.append(info)
        return data_list

    def filter_data(self) -> list[dict]:
        """Unless in test mode, drop what ``filter_cfg`` names: empty images, images smaller than ``min_size``."""
        config = {} if self.test_mode else self.filter_cfg or {}
        drop_empty = config.get('filter_empty_gt', False)
        min_size = config.get('min_size', 0)
        kept = []
        for info in self.data_list:
            is_large_enough = min(info['width'], info['height']) >= min_size
            if is_large_enough and (info['has_objects'] or not drop_empty):
                kept.append(info)
        return kept

    def get_data_info(self, idx: int) -> dict:
        """Return the annotations of an image; ``instances`` are sorted from the hindmost to the foremost."""
        info = super().get_data_info(idx)
        info['instances'] = []
        for shape in _layout(self.scenes, info['img_id']):
            instance = dict(bbox=shape.bbox, bbox_label=shape.label, ignore_flag=0)
            if self.with_mask:
                instance['mask'] = _full_rle(shape, info['height'], info['width'])
            info['instances'].append(instance)
        return info


def _full_rle(shape: PlacedShape, height: int, width: int) -> dict:
    mask = np.zeros((height, width), np.uint8, order='F')
    mask[shape.window] = shape.mask
    rle = coco_mask.encode(mask)
    return dict(size=rle['size'], counts=rle['counts'].decode())
