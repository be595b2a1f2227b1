#!/usr/bin/env python
"""Write a miniature of a data set, of generated images: to try a config before the real data is there."""
import argparse

from mmdet_setdet.classification import write_shape_folders
from mmdet_setdet.engine.command_line import run


def main(argv=None):
    """Writes what the command line asks for and says where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('layout', choices=['imagenet'], help='what it is a miniature of')
    parser.add_argument('folder', help='where to write; the environment variable SETDET_IMAGENET then names it')
    parser.add_argument('--images', nargs=2, type=int, default=[200, 40], metavar=('TRAIN', 'VAL'),
                        help='images of each of the 6 classes (default: 200 40)')
    args = parser.parse_args(argv)
    write_shape_folders(args.folder, dict(zip(('train', 'val'), args.images)))
    print(f'{args.folder}: 6 classes of {args.images[0]} + {args.images[1]} images; use it with '
          f'SETDET_IMAGENET={args.folder}')


if __name__ == '__main__':
    run(main)
