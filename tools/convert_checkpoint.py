#!/usr/bin/env python
"""Convert a checkpoint of another code base: ``tools/convert_checkpoint.py SRC DST --from detr``."""
import argparse

import torch

import mmdet_setdet  # noqa: F401
from mmdet_setdet.checkpoints.convert import convert
from mmdet_setdet.checkpoints.families import FAMILIES
from mmdet_setdet.engine.command_line import run


def main(argv=None):
    """Converts as the command line says, and prints which configs the result fits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', metavar='SRC',
                        help='checkpoint file or URL, as its authors publish it, or a folder of transformers')
    parser.add_argument('target', metavar='DST', help='file to write, e.g. detr_r50.pth')
    parser.add_argument('--from', dest='family', choices=FAMILIES, help='whose it is (default: guessed from its names)')
    parser.add_argument('--keep-91', action='store_true',
                        help="keep COCO's 91 category ids as classes, instead of mmdet's 80")
    parser.add_argument('--config', help='config of the model, if it is none of the published ones')
    args = parser.parse_args(argv)
    checkpoint, family, configs = convert(args.source, args.family, args.keep_91, args.config)
    torch.save(checkpoint, args.target)
    classes = len(checkpoint['meta']['dataset_meta'].get('classes', ()))  # ImageNet's are named by its folders
    print(f'{args.source} ({family}{"" if args.family else ", guessed"}) -> {args.target}: '
          f'{len(checkpoint["state_dict"])} weights' + (f', {classes} classes' if classes else ''))
    print(f'fits: {" ".join(configs)}')
    if any('dc5' in name for name in configs) and not all('dc5' in name for name in configs):
        print('Dilation (DC5) does not show in weights: take the config that it was trained as.')
    if args.keep_91:
        print(f'{classes} classes: give the config --cfg-options model.bbox_head.num_classes={classes}')


if __name__ == '__main__':
    run(main)
