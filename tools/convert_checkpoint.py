#!/usr/bin/env python
"""Convert a checkpoint of another code base: ``tools/convert_checkpoint.py SRC DST --from detr``."""

import argparse
from collections.abc import Sequence

import torch

import mmdet_setdet  # noqa: F401
from mmdet_setdet.checkpoints.convert import convert
from mmdet_setdet.checkpoints.families import FAMILIES
from mmdet_setdet.engine.command_line import run


def main(argv: Sequence[str] | None = None) -> None:
    """Convert as the command line says, and print which configs the result fits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source',
        metavar='SRC',
        help='checkpoint file or URL, as its authors publish it, or a folder of transformers',
    )
    parser.add_argument('target', metavar='DST', help='file to write, e.g. detr_r50.pth')
    parser.add_argument(
        '--from',
        dest='family',
        choices=FAMILIES,
        help='code base of the checkpoint (default: guessed from the names of its weights)',
    )
    parser.add_argument(
        '--keep-91',
        action='store_true',
        help="keep COCO's 91 category ids as classes, instead of mmdet's 80",
    )
    parser.add_argument(
        '--config', help='config of the model, if it is not one of the published ones'
    )
    args = parser.parse_args(argv)
    checkpoint, family, configs = convert(args.source, args.family, args.keep_91, args.config)
    torch.save(checkpoint, args.target)
    classes = len(
        checkpoint['meta']['dataset_meta'].get('classes', ())
    )  # ImageNet's are named by its folders
    content = f'{len(checkpoint["state_dict"])} weights'
    if classes:
        content += f', {classes} classes'
    origin = family if args.family else f'{family}, guessed'
    print(f'{args.source} ({origin}) -> {args.target}: {content}')
    print(f'fits: {" ".join(configs)}')
    if len({'dc5' in name for name in configs}) > 1:
        print('Dilation (DC5) does not show in weights: use the config that it was trained with.')
    if args.keep_91:
        print(
            f'{classes} classes: give the config --cfg-options model.bbox_head.num_classes={classes}'
        )


if __name__ == '__main__':
    run(main)
