"""Images with more objects than a model can learn or find, counted from the annotations before a run starts."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from mmdet.datasets import BaseDetDataset

from ..errors import InputError
from .annotations import warn
from .data_sets import base_datasets, count_objects


class Limit(NamedTuple):
    """How many objects of an image a model has room for.

    Attributes:
        count (int): The number.
        option (str): Key of the config that sets it.
        reason (str): What cannot be done with more, after 'some of them'.
    """

    count: int
    option: str
    reason: str


def limits(model: dict, is_training: bool) -> Iterator[Limit]:
    """Iterate over the limits in the config of a model: its queries and, for an evaluation, its results of an image.

    With P patterns each of Q anchors is P queries.

    Raises:
        InputError: The number of results is below 1.
    """
    queries = model.get('num_queries')
    if isinstance(queries, int):
        count = queries * max(model.get('num_patterns') or 0, 1)
        yield Limit(count, 'model.num_queries', 'are matched with none and stay unlearned')
    test_cfg = model.get('test_cfg') or {}
    place = 'model.test_cfg'
    if isinstance(test_cfg.get('rcnn'), dict):
        test_cfg = test_cfg['rcnn']
        place += '.rcnn'
    results = test_cfg.get('max_per_img')
    if isinstance(results, int):
        if results < 1:
            raise InputError(f'{place}.max_per_img={results}: must be 1 or more')
        if not is_training:
            yield Limit(results, f'{place}.max_per_img', 'cannot be found')


def check_object_counts(model: dict, dataset, is_training: bool) -> None:
    """Warn once for each limit of a model that images of a data set exceed.

    Args:
        model (dict): Config of the model.
        dataset: A built data set. Its annotations are counted if they are in its list of images, as COCO's are; crowds
            are not counted.
        is_training (bool): Whether it is trained on.

    Raises:
        InputError: A limit is below 1.
    """
    used_for = 'trained on' if is_training else 'evaluated'
    for limit in limits(model, is_training):
        for base in base_datasets(dataset):
            counts = object_counts(base)
            exceeding = int((counts > limit.count).sum())
            if not exceeding:
                continue
            largest = int(counts.max())
            info = base.get_data_info(int(counts.argmax()))
            warn(
                f'{exceeding} of {len(counts)} images that are {used_for} have more objects than '
                f'{limit.option} allows, which is {limit.count}: some of them {limit.reason}. The most, {largest}, has '
                f'{info["img_path"]}; set {limit.option}={largest} or more'
            )


def object_counts(dataset) -> np.ndarray:
    """Return the number of objects in each image of a data set; empty if it is not of detection."""
    if not isinstance(dataset, BaseDetDataset):
        return np.zeros(0, int)
    counts = getattr(dataset, 'object_counts', None)
    return count_objects(dataset.data_list) if counts is None else counts
