#!/usr/bin/env python
"""Draw which predictions each object of an image gets from OTA, SimOTA, ATSS and Hungarian matching, side by side."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import mmdet_setdet  # noqa: F401  (before the stack, whose import messages it leaves out)

# isort: split
import numpy as np
from mmdet.registry import DATASETS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_setdet.checks import check_classes, checked_data_sets
from mmdet_setdet.engine.command_line import add_config_options, load_config, run
from mmdet_setdet.engine.models import build_model
from mmdet_setdet.errors import InputError
from mmdet_setdet.visualization.assignments import (
    TITLES,
    AssignerResult,
    LabelledImage,
    allowed_assigners,
    draw_assignments,
    labelled_images,
    predict,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', nargs='?', help='checkpoint file or URL (default: random weights)'
    )
    parser.add_argument(
        '--image',
        nargs='+',
        default=[],
        metavar='NAME',
        help='file names of the data set, or indices from 0 on (default: its first four images with objects)',
    )
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default='train',
        help='data set of the config to choose from (default: %(default)s); the images go through the '
        'pipeline of the tests, without random augmentation',
    )
    parser.add_argument(
        '--assigner',
        nargs='+',
        default=[],
        metavar='NAME',
        help=f'of {", ".join(TITLES)} (default: all that the model allows)',
    )
    parser.add_argument(
        '--anchor-scale',
        type=float,
        default=8,
        help='side of the square anchors for ATSS in strides, if the head has none (default: %(default)s, as on COCO)',
    )
    parser.add_argument(
        '--out-dir', help='where IMAGE_assignment.png goes (default: work_dirs/NAME_OF_CONFIG)'
    )
    add_config_options(parser, 'settings of the config to replace')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Draw as the command line says, print the same as a table, and return the pictures."""
    args = parse_args(argv)
    cfg = load_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    check_loaders(cfg, args.split, args.config)
    model = build_model(cfg.model, args.checkpoint).eval()
    names = allowed_assigners(model, args.assigner)
    with checked_data_sets():
        dataset = DATASETS.build(cfg[f'{args.split}_dataloader'].dataset)
    check_classes(cfg.model, dataset, args.config)
    weights = Path(args.checkpoint).name if args.checkpoint else 'random weights, nothing learned'
    pictures = []
    for image in labelled_images(dataset, get_test_pipeline_cfg(cfg), args.image):
        predictions = predict(model, image.packed, args.anchor_scale)
        results = predictions.compare(names, image.gts)
        has_strides = predictions.strides is not None
        strides = predictions.strides.numpy() if has_strides else None
        print_table(image, results, strides, dataset.metainfo['classes'])
        path = Path(image.path)
        picture = Path(args.out_dir or cfg.work_dir, f'{path.stem}_assignment.png')
        draw_assignments(
            image.pixels,
            image.gts.bboxes.numpy(),
            predictions.points.numpy(),
            results,
            picture,
            strides=strides,
            pred_bboxes=None if has_strides else predictions.bboxes.numpy(),
            title=f'{path.name}: {Path(args.config).stem}, {weights}',
            note=f'k: number assigned; cost: {predictions.cost_name}',
        )
        print(f'picture={picture}\n')
        pictures.append(picture)
    return pictures


def check_loaders(cfg: Config, split: str, config: str) -> None:
    """Raise an InputError if the config lacks the data set of the split or the pipeline of the tests."""
    if not cfg.get(f'{split}_dataloader'):
        raise InputError(f'{config}: has no {split}_dataloader; choose another --split')
    if not cfg.get('test_dataloader'):
        raise InputError(f'{config}: has no test_dataloader')


def print_table(
    image: LabelledImage,
    results: Sequence[AssignerResult],
    strides: np.ndarray | None,
    classes: Sequence[str],
) -> None:
    """Print the predictions and the mean cost of each object by each assigner."""
    number = len(image.gts)
    print(f'{image.path}: {number} object{"s" if number > 1 else ""}')
    print(
        '   object         size     assigner     k    cost'
        + ('' if strides is None else '  stride:k')
    )
    for index, (bbox, label) in enumerate(zip(image.gts.bboxes, image.gts.labels)):
        width, height = (bbox[2:] - bbox[:2]).round().int().tolist()
        size = f'{width}x{height}'
        heading = f'{index + 1:2d} {classes[label]:14.14s} {size:8s}'
        for result in results:
            preds, cost = result.of_gt(index)
            levels = '' if strides is None else count_by_stride(strides[preds])
            print(f'{heading:26s} {result.name:10s} {len(preds):3d} {cost:7.2f}  {levels}'.rstrip())
            heading = ''  # only in front of the first assigner


def count_by_stride(strides: np.ndarray) -> str:
    """Format the numbers of predictions per stride as '8:3 16:1'."""
    values, counts = np.unique(strides, return_counts=True)
    return ' '.join(f'{stride:g}:{count}' for stride, count in zip(values, counts))


if __name__ == '__main__':
    run(main)
