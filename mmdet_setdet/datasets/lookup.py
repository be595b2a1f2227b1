"""Single images of a data set, by name or place, for tools that look at a few of them."""
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset, Compose
from mmengine.structures import InstanceData

from ..checks import base_datasets, check_dataset
from ..errors import InputError


class LabelledImage(NamedTuple):
    """An image as a pipeline packs it, with its objects.

    Attributes:
        path (str): Of its file.
        packed (dict): ``inputs`` (C, H, W) and ``data_samples``.
        objects (InstanceData): ``bboxes`` (x1, y1, x2, y2) in pixels of the packed image, (G, 4), and ``labels`` (G, );
            crowds and others that training ignores are left out.
    """
    path: str
    packed: dict
    objects: InstanceData

    @property
    def pixels(self) -> np.ndarray:
        """ndarray: uint8 RGB, (h, w, 3), without padding."""
        meta = self.packed['data_samples'].metainfo
        scale = meta.get('scale_factor', (1., 1.))
        width, height = (round(side * factor) for side, factor in zip(meta['ori_shape'][1::-1], scale))
        image = self.packed['inputs'].flip(0).permute(1, 2, 0)[:height, :width]  # mmcv loads BGR
        return image.clamp(0, 255).to(torch.uint8).numpy()


def labelled_images(dataset: BaseDataset, pipeline: list, names: Sequence[str] = (),
                    first: int = 4) -> Iterator[LabelledImage]:
    """Images of a data set through another pipeline than its own, such as that of tests.

    The boxes come from the annotations and not through the pipeline, for some pipelines resize the image alone.

    Args:
        dataset (BaseDataset): A data set of mmdet's kind, under wrappers or not.
        pipeline (list[dict]): Transforms that end in PackDetInputs; they may resize and pad at the right and bottom,
            but not turn, mirror or crop.
        names (Sequence[str]): Names of files, with or without folders, or places from 0 on. Without any: the first
            images that have objects.
        first (int): How many those are.

    Raises:
        InputError: There is no such image or it has no objects.
    """
    for leaf in base_datasets(dataset):
        leaf.pipeline = Compose(pipeline)
    check_dataset(dataset)
    places = [(leaf, index) for leaf in base_datasets(dataset) for index in range(len(leaf))]
    if names:
        for name in names:
            yield _load(*_find(places, name), name)
        return
    found = 0
    for leaf, index in places:
        if found < first and _objects(leaf.get_data_info(index)):
            found += 1
            yield _load(leaf, index, str(index))
    if not found:
        raise InputError(f'none of the {len(places)} images of the data set has an object')


def _find(places: list[tuple[BaseDataset, int]], name: str) -> tuple[BaseDataset, int]:
    if name.isdigit() and int(name) < len(places):
        return places[int(name)]
    for leaf, index in places:
        path = leaf.get_data_info(index)['img_path']
        if path == name or path.endswith(f'/{name}'):
            return leaf, index
    example = places[0][0].get_data_info(places[0][1])['img_path'].rsplit('/', 1)[-1]
    raise InputError(f'--image {name}: not in the data set of {len(places)} images; give the name of a file as in its '
                     f'annotations, such as {example}, or a place from 0 to {len(places) - 1}, or look into another '
                     'data set of the config with --split')


def _objects(info: dict) -> list[dict]:
    return [instance for instance in info.get('instances', []) if not instance.get('ignore_flag')]


def _load(leaf: BaseDataset, index: int, name: str) -> LabelledImage:
    info = leaf.get_data_info(index)
    objects, path = _objects(info), info['img_path']
    if not objects:
        raise InputError(f'--image {name}: {path} has no object, so nothing is assigned; choose another image')
    packed = leaf.pipeline(info)
    scale = packed['data_samples'].metainfo.get('scale_factor', (1., 1.))
    bboxes = torch.tensor([instance['bbox'] for instance in objects]).float() * torch.tensor(scale).float().repeat(2)
    return LabelledImage(path, packed, InstanceData(
        bboxes=bboxes, labels=torch.tensor([instance['bbox_label'] for instance in objects])))
