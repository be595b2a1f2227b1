"""Row "loading": images of COCO's size from JPEG files to the input of a DETR, by one process."""

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import mmcv
import numpy as np
from mmdet.registry import DATASETS
from mmengine.hub import get_config

from .models import MMDET_CONFIGS, our_config
from .options import Options
from .peers.detr_authors import load_coco_detection
from .timing import Case, Contender, max_abs_diff

CONFIG = 'detr_r50_150e'
NUM_IMAGES = 16
NUM_OBJECTS = 7


def cases(options: Options) -> Iterator[Case]:
    """Yield the pipeline of training, which resizes and crops at random, and that of the evaluation."""
    height, width = options.size or (480, 640)
    number = options.batch_size or NUM_IMAGES
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), number, (height, width), options.seed)
        configs = dict(ours=our_config(CONFIG, {}), mmdet=get_config(MMDET_CONFIGS[CONFIG]))
        for split, authors in (('train', 'train'), ('test', 'val')):
            contenders = []
            for name, config in configs.items():
                pipeline = config[f'{split}_dataloader'].dataset.pipeline
                contenders.append(_contender(name, _mmdet_dataset(folder, pipeline, split)))
            dataset = load_coco_detection(folder, f'{folder}/images.json', authors)
            if dataset is not None:
                contenders.append(_contender("authors'", dataset))
            ours, *peers = contenders
            name = f'{split} pipeline, {number} x {height}x{width}'
            yield Case(name, ours, peers, max_abs_diff)


def write_images(folder: Path, number: int, size: tuple[int, int], seed: int) -> None:
    """Write pictures with some detail, and ``images.json`` with their objects."""
    random = np.random.default_rng(seed)
    height, width = size
    images, annotations = [], []
    for index in range(number):
        coarse = random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        mmcv.imwrite(mmcv.imresize(coarse, (width, height)), str(folder / f'{index}.jpg'))
        images.append(dict(id=index, file_name=f'{index}.jpg', width=width, height=height))
        for x, y in random.integers(0, min(size) // 2, (NUM_OBJECTS, 2)).tolist():
            box = dict(image_id=index, category_id=1, bbox=[x, y, 60, 40], area=2400, iscrowd=0)
            annotations.append(dict(id=len(annotations) + 1, **box))
    categories = [dict(id=1, name='person')]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'images.json').write_text(json.dumps(content))


def _mmdet_dataset(folder: str, pipeline: list[dict], split: str):
    config = dict(
        type='CocoDataset',
        data_root=folder,
        ann_file='images.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=('person',)),
        test_mode=split == 'test',
        pipeline=pipeline,
    )
    with redirect_stdout(io.StringIO()):  # pycocotools prints
        return DATASETS.build(config)


def _contender(name: str, dataset) -> Contender:
    return Contender(name, partial(_read_all, dataset))


def _read_all(dataset) -> None:
    for index in range(len(dataset)):
        dataset[index]
