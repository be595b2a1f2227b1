"""Single images of a data set, by name or index, for tools that look at a few of them."""
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset, Compose
from mmengine.structures import InstanceData

from ..checks import base_datasets, check_dataset
from ..errors import InputError


class LabelledImage(NamedTuple):
    """An image as packed by a pipeline, with its ground truths.

    Attributes:
        path (str): Path of its file.
        packed (dict): ``inputs`` (C, H, W) and ``data_samples``.
        objects (InstanceData): ``bboxes`` (x1, y1, x2, y2) in pixels of the packed image, (G, 4), and ``labels`` (G, );
            without crowds and others that training ignores.
    """
    path: str
    packed: dict
    objects: InstanceData

    @property
    def pixels(self) -> np.ndarray:
        """ndarray: uint8 RGB, (h, w, 3), without padding."""
        meta = self.packed['data_samples'].metainfo
        height, width = meta['ori_shape'][:2]
        width_factor, height_factor = _scale_factor(self.packed)
        height = round(height * height_factor)
        width = round(width * width_factor)
        image = self.packed['inputs'].flip(0)  # mmcv loads BGR
        image = image.permute(1, 2, 0)[:height, :width]
        return image.clamp(0, 255).to(torch.uint8).numpy()


def _scale_factor(packed: dict) -> tuple[float, float]:
    """Return width and height of a packed image, relative to those of its file."""
    return packed['data_samples'].metainfo.get('scale_factor', (1., 1.))


class _Place(NamedTuple):
    """Where an image is: its data set and its index there."""
    dataset: BaseDataset
    index: int

    @property
    def info(self) -> dict:
        return self.dataset.get_data_info(self.index)


def labelled_images(
    dataset: BaseDataset,
    pipeline: list,
    names: Sequence[str] = (),
    first: int = 4,
) -> Iterator[LabelledImage]:
    """Load images of a data set through another pipeline than its own, such as the test pipeline.

    Boxes are read from the annotations, not from the pipeline, since some pipelines resize the image alone.

    Args:
        dataset (BaseDataset): A data set for detection, possibly below wrappers.
        pipeline (list[dict]): Transforms that end in PackDetInputs; they may resize and pad at the right and bottom,
            but not rotate, flip or crop.
        names (Sequence[str]): Names of files, with or without folders, or indices from 0 on. By default the first
            images with ground truths.
        first (int): Number of these.

    Raises:
        InputError: There is no such image or it has no ground truths.
    """
    for base in base_datasets(dataset):
        base.pipeline = Compose(pipeline)
    check_dataset(dataset)
    places = [_Place(base, index) for base in base_datasets(dataset) for index in range(len(base))]
    if names:
        for name in names:
            yield _load(_find(places, name), name)
        return
    num_loaded = 0
    for place in places:
        if num_loaded < first and _annotated(place.info):
            num_loaded += 1
            yield _load(place, str(place.index))
    if not num_loaded:
        raise InputError(f'none of the {len(places)} images of the data set has an object')


def _find(places: list[_Place], name: str) -> _Place:
    if name.isdigit() and int(name) < len(places):
        return places[int(name)]
    for place in places:
        path = place.info['img_path']
        if path == name or path.endswith(f'/{name}'):
            return place
    example = places[0].info['img_path'].rsplit('/', 1)[-1]
    raise InputError(
        f'--image {name}: not in the data set of {len(places)} images; give the name of a file as in its annotations, '
        f'such as {example}, or a place from 0 to {len(places) - 1}, or look into another data set of the config with '
        '--split')


def _annotated(info: dict) -> list[dict]:
    """Return the instances that training does not ignore."""
    return [instance for instance in info.get('instances', []) if not instance.get('ignore_flag')]


def _load(place: _Place, name: str) -> LabelledImage:
    info = place.info
    path = info['img_path']
    instances = _annotated(info)
    if not instances:
        raise InputError(f'--image {name}: {path} has no object, so nothing is assigned; choose another image')
    packed = place.dataset.pipeline(info)
    scale = torch.tensor(_scale_factor(packed)).float().repeat(2)
    bboxes = torch.tensor([instance['bbox'] for instance in instances]).float()
    labels = torch.tensor([instance['bbox_label'] for instance in instances])
    return LabelledImage(path, packed, InstanceData(bboxes=bboxes * scale, labels=labels))
