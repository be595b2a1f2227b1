#!/usr/bin/env python
"""Plot loss and mAP of one or more runs into one PNG."""

import argparse
from collections import defaultdict
from collections.abc import Sequence

from mmdet_setdet.engine.command_line import run
from mmdet_setdet.errors import InputError
from mmdet_setdet.visualization import plot_curves
from mmdet_setdet.visualization.curves import X_AXES


def main(argv: Sequence[str] | None = None) -> None:
    """Plot the runs that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'runs',
        nargs='+',
        metavar='NAME=WORK_DIR',
        help='a label and a work_dir or scalars.json; runs of one label (seeds) are averaged',
    )
    parser.add_argument(
        '--out', default='curves.png', help='picture to write (default: %(default)s)'
    )
    parser.add_argument(
        '--train-key', default='loss', help='scalar of the left panel (default: %(default)s)'
    )
    parser.add_argument(
        '--val-key',
        default='coco/bbox_mAP',
        help='scalar of the right panel (default: %(default)s)',
    )
    parser.add_argument(
        '--x-axis',
        choices=X_AXES,
        default=X_AXES[0],
        help='iterations, or minutes of training steps (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    runs = defaultdict(list)
    for text in args.runs:
        label, _, path = text.partition('=')
        if not label or not path:
            raise InputError(f'{text!r} is not of the form NAME=WORK_DIR')
        runs[label].append(path)
    plot_curves(runs, args.out, args.train_key, args.val_key, args.x_axis)
    print(f'curves={args.out}')


if __name__ == '__main__':
    run(main)
