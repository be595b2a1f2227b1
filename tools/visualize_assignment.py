#!/usr/bin/env python
"""Draw which predictions each object of an image gets from OTA, SimOTA, ATSS and Hungarian matching, side by side."""
import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet.registry import DATASETS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import DictAction
from mmengine.registry import init_default_scope

import mmdet_setdet  # noqa: F401
from mmdet_setdet.checks import check_classes, checked_data_sets
from mmdet_setdet.datasets.lookup import LabelledImage, labelled_images
from mmdet_setdet.engine.assignments import TITLES, allowed_assigners, load_model, predict
from mmdet_setdet.engine.command_line import load_config, run
from mmdet_setdet.errors import InputError
from mmdet_setdet.visualization import Assigned, draw_assignments


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, with what ``load_config`` wants besides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file or URL (default: fresh weights)')
    parser.add_argument('--image', nargs='+', default=[], metavar='NAME',
                        help='file names of the data set, or places in it from 0 on (default: its first four images '
                             'with objects)')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train',
                        help='data set of the config to look into (default: %(default)s); the images go through the '
                             'pipeline of the tests, without random augmentation')
    parser.add_argument('--assigner', nargs='+', default=[], metavar='NAME',
                        help=f'of {", ".join(TITLES)} (default: all that the model allows)')
    parser.add_argument('--anchor-scale', type=float, default=8,
                        help='side of the square anchors for ATSS in strides, if the head has none (default: '
                             '%(default)s, as on COCO)')
    parser.add_argument('--out-dir', help='where IMAGE_assignment.png goes (default: work_dirs/NAME_OF_CONFIG)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                        help='settings of the config to replace')
    parser.set_defaults(launcher='none', local_rank=0, work_dir=None)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Draws as the command line says, prints what is drawn as a table, and returns the pictures."""
    args = parse_args(argv)
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    for loader in (f'{args.split}_dataloader', 'test_dataloader'):
        if not cfg.get(loader):
            raise InputError(f'{args.config}: has no {loader}'
                             + ('; choose another --split' if loader[:4] != 'test' else ''))
    model = load_model(cfg.model, args.checkpoint)
    names = allowed_assigners(model, args.assigner)
    with checked_data_sets():
        dataset = DATASETS.build(cfg[f'{args.split}_dataloader'].dataset)
    check_classes(cfg.model, dataset, args.config)
    weights = Path(args.checkpoint).name if args.checkpoint else 'fresh weights, nothing learnt'
    pictures = []
    for image in labelled_images(dataset, get_test_pipeline_cfg(cfg), args.image):
        predictions = predict(model, image.packed, args.anchor_scale)
        assigned = predictions.compare(names, image.objects)
        strides = None if predictions.strides is None else predictions.strides.numpy()
        print_table(image, assigned, strides, dataset.metainfo['classes'])
        pictures.append(Path(args.out_dir or cfg.work_dir, f'{Path(image.path).stem}_assignment.png'))
        draw_assignments(
            image.pixels, image.objects.bboxes.numpy(), predictions.points.numpy(), assigned, pictures[-1],
            strides=strides, pred_bboxes=predictions.bboxes.numpy() if strides is None else None,
            title=f'{Path(image.path).name}: {Path(args.config).stem}, {weights}',
            note=f'k: number assigned; cost: {predictions.cost_name}')
        print(f'picture={pictures[-1]}\n')
    return pictures


def print_table(image: LabelledImage, assigned: Sequence[Assigned], strides: np.ndarray | None,
                classes: Sequence[str]) -> None:
    """Prints what each object gets from each assigner."""
    number = len(image.objects)
    print(f'{image.path}: {number} object{"s" if number > 1 else ""}')
    print('   object         size     assigner     k    cost' + ('  stride:k' if strides is not None else ''))
    for index, (bbox, label) in enumerate(zip(image.objects.bboxes, image.objects.labels)):
        width, height = (bbox[2:] - bbox[:2]).round().int().tolist()
        head = f'{index + 1:2d} {classes[label]:14.14s} {f"{width}x{height}":8s}'
        for each in assigned:
            own, cost = each.share(index)
            levels = () if strides is None else zip(*np.unique(strides[own], return_counts=True))
            used = ' '.join(f'{stride:g}:{number}' for stride, number in levels)
            print(f'{head:26s} {each.name:10s} {len(own):3d} {cost:7.2f}  {used}'.rstrip())
            head = ''


if __name__ == '__main__':
    run(main)
