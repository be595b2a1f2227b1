"""Single images of a data set, chosen by name or index, with their ground truths."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset, Compose
from mmengine.structures import InstanceData

from ...checks import base_datasets, check_dataset
from ...errors import InputError


class LabelledImage(NamedTuple):
    """An image as packed by a pipeline, with its ground truths.

    Attributes:
        path (str): Path of its file.
        packed (dict): ``inputs`` (C, H, W) and ``data_samples``.
        gts (InstanceData): ``bboxes`` (x1, y1, x2, y2) in pixels of the packed image, (G, 4), and ``labels`` (G, );
            without crowds and others that training ignores.
    """

    path: str
    packed: dict
    gts: InstanceData

    @property
    def pixels(self) -> np.ndarray:
        """ndarray: uint8 RGB, (h, w, 3), without padding."""
        meta = self.packed['data_samples'].metainfo
        original_height, original_width = meta['ori_shape'][:2]
        width_factor, height_factor = meta.get('scale_factor', (1.0, 1.0))
        height = round(original_height * height_factor)
        width = round(original_width * width_factor)
        rgb = self.packed['inputs'].flip(0)  # mmcv loads BGR
        image = rgb.permute(1, 2, 0)[:height, :width]
        return image.clamp(0, 255).to(torch.uint8).numpy()


def labelled_images(
    dataset: BaseDataset, pipeline: list, names: Sequence[str] = (), limit: int = 4
) -> Iterator[LabelledImage]:
    """Yield images of a data set, passed through another pipeline than its own, such as that of the tests.

    The boxes come from the annotations and not from the pipeline, because some pipelines resize only the image.

    Args:
        dataset (BaseDataset): A data set of mmdet, possibly under wrappers.
        pipeline (list[dict]): Transforms that end with PackDetInputs. They may resize, and pad at the right and bottom,
            but not rotate, flip or crop.
        names (Sequence[str]): File names with or without folders, or indices from 0 on. If empty: the first images that
            have ground truths.
        limit (int): How many these are.

    Raises:
        InputError: There is no such image, or it has no ground truth.
    """
    for base in base_datasets(dataset):
        base.pipeline = Compose(pipeline)
    check_dataset(dataset)
    places = [(base, index) for base in base_datasets(dataset) for index in range(len(base))]
    if not names:
        yield from _first_images(places, limit)
    for name in names:
        base, index = _find(places, name)
        yield _load(base, index, name)


def _first_images(places: list[tuple[BaseDataset, int]], limit: int) -> Iterator[LabelledImage]:
    """Yield the first images with ground truths."""
    num_yielded = 0
    for base, index in places:
        if num_yielded == limit:
            return
        if _instances(base.get_data_info(index)):
            num_yielded += 1
            yield _load(base, index, str(index))
    if not num_yielded:
        raise InputError(f'none of the {len(places)} images of the data set has an object')


def _find(places: list[tuple[BaseDataset, int]], name: str) -> tuple[BaseDataset, int]:
    """Look up an image by index or file name."""
    if name.isdigit() and int(name) < len(places):
        return places[int(name)]
    for base, index in places:
        path = base.get_data_info(index)['img_path']
        if path == name or path.endswith(f'/{name}'):
            return base, index
    base, index = places[0]
    example = base.get_data_info(index)['img_path'].rpartition('/')[2]
    raise InputError(
        f'--image {name}: not in the data set of {len(places)} images; give the name of a file as in its '
        f'annotations, such as {example}, or an index from 0 to {len(places) - 1}, or choose another data '
        'set of the config with --split'
    )


def _instances(info: dict) -> list[dict]:
    """Return the instances that training does not ignore."""
    return [instance for instance in info.get('instances', []) if not instance.get('ignore_flag')]


def _load(base: BaseDataset, index: int, name: str) -> LabelledImage:
    """Pass an image through the pipeline and scale its boxes like it."""
    info = base.get_data_info(index)
    path = info['img_path']
    instances = _instances(info)
    if not instances:
        raise InputError(
            f'--image {name}: {path} has no object, so nothing is assigned; choose another image'
        )
    packed = base.pipeline(info)
    scale = packed['data_samples'].metainfo.get('scale_factor', (1.0, 1.0))
    bboxes = torch.tensor([instance['bbox'] for instance in instances]).float()
    labels = torch.tensor([instance['bbox_label'] for instance in instances])
    scaled = bboxes * torch.tensor(scale).float().repeat(2)
    return LabelledImage(path, packed, InstanceData(bboxes=scaled, labels=labels))
