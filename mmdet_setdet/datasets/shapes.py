"""A detection data set that needs no files: every image is painted when it is asked for."""
import json
from dataclasses import fields
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode

import cv2
import numpy as np
from mmdet.datasets import BaseDetDataset
from mmengine.fileio import BaseStorageBackend, register_backend
from pycocotools import mask as coco_mask

from ..errors import InputError
from ..registry import DATASETS
from .shape_scenes import CLASSES, PALETTE, PlacedShape, ShapeScenes

PREFIX = 'shapes'


def scene_uri(scenes: ShapeScenes, index: int) -> str:
    """Name of an image, ``shapes://seed=0/000012.png``, that says all that is needed to paint it anywhere."""
    settings = {f.name: getattr(scenes, f.name) for f in fields(scenes)}
    changed = {f.name: json.dumps(settings[f.name]) for f in fields(scenes)
               if f.name == 'seed' or settings[f.name] != f.default}
    return f'{PREFIX}://{urlencode(changed)}/{index:06d}.png'


@lru_cache(maxsize=64)
def _scenes(query: str) -> ShapeScenes:
    return ShapeScenes(**{name: json.loads(value) for name, value in parse_qsl(query)})


@lru_cache(maxsize=8192)  # 400 MB at 128 pixels; painting costs ten times as much as decoding
def _png(query: str, index: int) -> bytes:
    return cv2.imencode('.png', _scenes(query).render(index), [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()


@lru_cache(maxsize=8192)
def _layout(scenes: ShapeScenes, index: int) -> list[PlacedShape]:
    return scenes.layout(index)


@register_backend(PREFIX, prefixes=PREFIX, force=True)
class ShapesBackend(BaseStorageBackend):
    """mmengine file backend of ``shapes://`` names: reading such a file paints it.
    The last few thousand are kept, so that a small training set is painted once.

    With it mmdet's own LoadImageFromFile, inferencers and visualisation hook work on images that lie on no disk.
    """

    def get(self, filepath: str) -> bytes:
        """The image as PNG bytes.

        Raises:
            FileNotFoundError: The name is not one that :func:`scene_uri` makes.
        """
        try:
            query, name = str(filepath).split('://', 1)[1].split('/')
            return _png(query, int(name.split('.')[0]))
        except (ValueError, TypeError, IndexError) as error:
            raise FileNotFoundError(f'{filepath!r} names no generated image (shapes://seed=0/000012.png does): '
                                    f'{error}') from error

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """Not possible: these files are images."""
        raise TypeError(f'{filepath!r} is an image and cannot be read as text.')


@DATASETS.register_module()
class ShapesDataset(BaseDetDataset):
    """Textured shapes of random size, turn and colour, overlapping, on textured backgrounds; some images are empty.

    A box is the tight extent of the object's pixels inside the image, the part hidden behind other objects included.
    Every object that is painted is annotated. Neither colour nor texture tells the class. Classes are chosen as
    in any mmdet data set, by ``metainfo=dict(classes=('circle', 'star'))``.

    Evaluate with ``CocoMetric(ann_file=None)`` and ``'instances'`` among the ``meta_keys`` of PackDetInputs: the metric
    then takes the ground truth from the data samples. Give training and evaluation different seeds.

    Args:
        num_images (int): Length of the data set.
        seed, image_size, min_objects, max_objects, empty_ratio, object_size, min_visible: See :class:`ShapeScenes`.
        with_mask (bool): Whether instances carry a mask (RLE, the object's full extent inside the image).
        **kwargs: Of mmdet's BaseDetDataset. ``filter_cfg`` may hold ``filter_empty_gt`` and ``min_size``, as for COCO.
    """
    METAINFO = dict(classes=CLASSES, palette=list(PALETTE))

    def __init__(self, num_images: int, seed: int = 0, image_size: int | tuple[int, int] = 128,
                 min_objects: int = 1, max_objects: int = 6, empty_ratio: float = 0.05,
                 object_size: tuple[float, float] = (0.12, 0.6), min_visible: float = 0.35, with_mask: bool = False,
                 **kwargs) -> None:
        if num_images < 1:
            raise InputError(f'num_images={num_images}: ShapesDataset needs at least one image.')
        self.num_images = num_images
        self.with_mask = with_mask
        self._settings = dict(seed=seed, image_size=image_size, min_objects=min_objects, max_objects=max_objects,
                              empty_ratio=empty_ratio, object_size=object_size, min_visible=min_visible)
        super().__init__(**kwargs)

    @property
    def scenes(self) -> ShapeScenes:
        """The scenes that the images are painted from."""
        return ShapeScenes(classes=tuple(self.metainfo['classes']), **self._settings)

    def load_data_list(self) -> list[dict]:
        """Names and sizes only; where the objects are is worked out image by image, in :meth:`get_data_info`."""
        scenes, data_list = self.scenes, []
        for index in range(self.num_images):
            width, height, occupied = scenes.outline(index)
            data_list.append(dict(img_id=index, img_path=scene_uri(scenes, index), width=width, height=height,
                                  occupied=occupied))
        return data_list

    def filter_data(self) -> list[dict]:
        """Drop what ``filter_cfg`` names, unless in test mode: empty images, images smaller than ``min_size``."""
        config = {} if self.test_mode else self.filter_cfg or {}
        return [info for info in self.data_list
                if (info['occupied'] or not config.get('filter_empty_gt', False))
                and min(info['width'], info['height']) >= config.get('min_size', 0)]

    def get_data_info(self, idx: int) -> dict:
        """As in mmdet; the ``instances`` go from the hindmost object to the foremost."""
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
