"""Folders of annotated images as people have them: COCO, YOLO and Pascal VOC are recognised by what lies in them."""

import json
import os
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ...checks.classes import head_class_counts
from ...errors import InputError
from ..pipelines import with_pipeline
from .annotated import AnnotatedFolder
from .coco import coco_files, read_coco
from .voc import read_voc, voc_files
from .yolo import read_yolo, yolo_file

__all__ = ['AnnotatedFolder', 'read_folder', 'use_folder']


def read_folder(path: str | Path) -> AnnotatedFolder:
    """Read a folder of annotated images, or a YOLO ``data.yaml``.

    Raises:
        InputError: There is no such folder, its format is none of the three, or its content is broken.
    """
    folder = Path(path)
    if folder.is_file() and folder.suffix in ('.yaml', '.yml'):
        return read_yolo(folder)
    if folder.is_file():
        raise InputError(f'{path}: give the folder of the data set, or the data.yaml of YOLO')
    if not folder.is_dir():
        raise InputError(f'{path}: no such folder')
    yaml_file = yolo_file(folder)
    if yaml_file is not None:
        return read_yolo(yaml_file)
    files = coco_files(folder)
    if files:
        return read_coco(folder, files)
    files = voc_files(folder)
    if files:
        return read_voc(folder, files)
    raise InputError(
        f'{path}: no annotations that are known; looked for data.yaml (YOLO), a JSON file with images, annotations and '
        'categories (COCO), and XML files (Pascal VOC)'
    )


def use_folder(cfg: Config, data: AnnotatedFolder, out: Path) -> None:
    """Let a detector's config train, validate and test on a folder.

    COCO annotation files of the splits are written to ``out``; the pipelines of the config stay.

    Args:
        cfg (Config): The config, changed in place.
        data (AnnotatedFolder): The folder.
        out (Path): Where the annotation files go.
    """
    out.mkdir(parents=True, exist_ok=True)
    for split, coco in data.splits.items():
        # Several processes may write it, and read it at once.
        unfinished = out / f'{split}.{os.getpid()}.tmp'
        unfinished.write_text(json.dumps(coco))
        unfinished.replace(out / f'{split}.json')
    metainfo = dict(classes=tuple(data.classes))
    for loader, split in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        loader_cfg = cfg.get(f'{loader}_dataloader')
        if loader_cfg is None:
            continue
        ann_file = str((out / f'{split}.json').resolve())
        images = dict(
            type='CocoDataset',
            ann_file=ann_file,
            data_prefix=dict(img=f'{data.folder.resolve()}/'),
            metainfo=metainfo,
            test_mode=loader != 'train',
            filter_cfg=dict(filter_empty_gt=False),
        )
        loader_cfg.dataset = _with_images(loader_cfg.dataset, images)
        if loader != 'train':
            evaluator = dict(type='mmdet_setdet.CocoMetric', metric='bbox', ann_file=ann_file)
            cfg[f'{loader}_evaluator'] = evaluator
    for key, _ in head_class_counts(cfg.model, 'model'):
        cfg.merge_from_dict({key: len(data.classes)})


def _with_images(dataset: ConfigDict, images: dict) -> dict:
    """Return the config of a data set with other images, through the same pipelines.

    One that mixes images, as for mosaics, has a pipeline of its own and stays around the new data set.
    """
    dataset = with_pipeline(dataset)
    if 'dataset' in dataset:
        return dict(dataset, dataset=_with_images(dataset.dataset, images))
    return dict(images, pipeline=dataset.pipeline)
