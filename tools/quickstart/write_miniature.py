#!/usr/bin/env python
"""Write a miniature of a data set from generated images, to try a config before the real data is available."""

import argparse
from collections.abc import Sequence

from mmdet_setdet.classification import write_shape_folders
from mmdet_setdet.engine.command_line import run


def main(argv: Sequence[str] | None = None) -> None:
    """Write the requested images and print where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('layout', choices=['imagenet'], help='the data set to imitate')
    parser.add_argument(
        'folder', help='where to write; set the environment variable SETDET_IMAGENET to it'
    )
    parser.add_argument(
        '--images',
        nargs=2,
        type=int,
        default=[200, 40],
        metavar=('TRAIN', 'VAL'),
        help='images per class, of which there are 6 (default: 200 40)',
    )
    args = parser.parse_args(argv)
    num_train, num_val = args.images
    write_shape_folders(args.folder, dict(train=num_train, val=num_val))
    print(
        f'{args.folder}: 6 classes of {num_train} + {num_val} images; use it with SETDET_IMAGENET={args.folder}'
    )


if __name__ == '__main__':
    run(main)
