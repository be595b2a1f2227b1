"""Row "evaluation": COCO's figures of the boxes that a DETR finds in all of val2017."""

import contextlib
import io
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from mmdet_setdet.errors import InputError
from mmdet_setdet.evaluation.coco_metric import FastCOCOeval

from .options import Options
from .timing import Case, Contender, max_abs_diff

NUM_IMAGES = 5000
NUM_RESULTS = 300  # of an image
NUM_OBJECTS = 7
NUM_CLASSES = 80
SIDE = 640
MAX_DETS = [100, 300, 1000]  # as in mmdet


def cases(options: Options) -> Iterator[Case]:
    """Yield the evaluation of as many images as the batch size says.

    Raises:
        InputError: There is nothing to compare.
    """
    if find_spec('faster_coco_eval') is None:
        raise InputError('evaluation: compares with faster-coco-eval; pip install faster-coco-eval')
    num_images = options.batch_size or NUM_IMAGES
    gts, results = scenes(num_images, NUM_RESULTS, NUM_CLASSES, options.seed)

    def contender(name: str, evaluation: type[COCOeval]) -> Contender:
        run = lambda: figures(evaluation, gts, results)  # noqa: E731
        return Contender(name, run, run)

    yield Case(
        f'{num_images} images, {NUM_RESULTS} results in each',
        contender('ours', FastCOCOeval),
        [contender('pycocotools', COCOeval)],
        max_abs_diff,
    )


def figures(evaluation: type[COCOeval], gts: COCO, results: COCO) -> list[Tensor]:
    """Evaluate boxes; return the 12 figures, precision and recall."""
    with contextlib.redirect_stdout(io.StringIO()):
        done = evaluation(gts, results, 'bbox')
        done.params.maxDets = MAX_DETS
        done.evaluate()
        done.accumulate()
        done.summarize()
    arrays = (done.stats, done.eval['precision'], done.eval['recall'])
    return [torch.tensor(array) for array in arrays]


def scenes(num_images: int, num_results: int, num_classes: int, seed: int = 0) -> tuple[COCO, COCO]:
    """Return gts and results: noisy copies of the gts among random boxes.

    One gt in ten is a crowd, one copy in ten is of another class.
    """
    random = np.random.default_rng(seed)
    image_ids = np.arange(num_images) + 1
    boxes = random_boxes(random, (num_images, NUM_OBJECTS))
    labels = random.integers(1, num_classes + 1, (num_images, NUM_OBJECTS))
    gts = COCO()
    images = [dict(id=i, width=SIDE, height=SIDE) for i in image_ids.tolist()]
    categories = [dict(id=i, name=f'class {i}') for i in range(1, num_classes + 1)]
    annotations = [
        dict(image_id=image, bbox=box, area=box[2] * box[3], category_id=label)
        for image, of_image in enumerate(zip(boxes.tolist(), labels.tolist()), 1)
        for box, label in zip(*of_image)
    ]
    for index, annotation in enumerate(annotations, 1):
        annotation.update(id=index, iscrowd=int(index % 10 == 0))
    gts.dataset = dict(images=images, categories=categories, annotations=annotations)
    found = random_boxes(random, (num_images, num_results))
    found_labels = random.integers(1, num_classes + 1, (num_images, num_results))
    scores = random.random((num_images, num_results)) * 0.6
    noise = random.normal(size=boxes.shape) * boxes[..., [2, 3, 2, 3]] * 0.05
    found[:, :NUM_OBJECTS] = boxes + noise
    scores[:, :NUM_OBJECTS] += random.random(labels.shape) * 0.4
    is_right = random.random(labels.shape) < 0.9
    copied = found_labels[:, :NUM_OBJECTS]
    copied[is_right] = labels[is_right]
    columns = [image_ids[:, None, None].repeat(num_results, 1), found]
    columns += [scores[..., None], found_labels[..., None]]
    rows = np.concatenate(columns, -1).reshape(-1, 7)
    with contextlib.redirect_stdout(io.StringIO()):
        gts.createIndex()
        return gts, gts.loadRes(rows)


def random_boxes(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return boxes (x, y, w, h) of all of COCO's sizes."""
    sides = 2 ** random.uniform(3, 8, (*shape, 2))
    return np.concatenate([random.uniform(0, SIDE - sides), sides], -1)
