#!/usr/bin/env python
"""Time ours against mmdet and, where they are installed, other implementations: ``tools/benchmark.py matching``.

Every peer has the same weights and inputs as ours, and all take turns in one run. A ratio above 1 means that ours is
faster. See docs/benchmark.md.
"""
import argparse
import json
from pathlib import Path

import torch
from mmengine.registry import init_default_scope

from mmdet_setdet.benchmark import ROWS, Options, as_table, measure, plot_growth
from mmdet_setdet.benchmark.options import DTYPES
from mmdet_setdet.engine.command_line import run
from mmdet_setdet.errors import InputError


def parse_args(argv=None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('rows', nargs='+', choices=ROWS, metavar='ROW', help=f'any of {", ".join(ROWS)}')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the results to FILE, a list of dicts')
    parser.add_argument('--plot', type=Path, metavar='FILE', help='row growth: also draw it, to a PNG')
    parser.add_argument('--repeats', type=int, default=10, help='timed runs of each side (default 10)')
    parser.add_argument('--threads', type=int, help='CPU threads that torch uses (default: its own choice)')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu', help='where to compute (default cpu)')
    parser.add_argument('--dtype', choices=DTYPES, default='float32', help='bf16: automatic mixed precision')
    parser.add_argument('--batch-size', type=int, help="images in a batch (default: the row's own)")
    parser.add_argument('--size', metavar='HxW', help='height and width of the images, e.g. 480x640')
    return parser.parse_args(argv)


def options_from(args: argparse.Namespace) -> Options:
    """Checks the command line's values."""
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise InputError('--device cuda: torch sees no GPU here; leave the option out')
    if args.repeats < 1 or (args.batch_size or 1) < 1:
        raise InputError(f'--repeats and --batch-size must be 1 or more, got {args.repeats} and {args.batch_size}')
    size = None
    if args.size:
        try:
            height, width = map(int, args.size.split('x'))
        except ValueError:
            raise InputError(f'--size {args.size}: give height and width as in 480x640') from None
        size = (height, width)
    if args.plot and 'growth' not in args.rows:
        raise InputError(f'--plot {args.plot}: draws the row growth, which is not among {", ".join(args.rows)}')
    return Options(args.repeats, args.device, args.dtype, args.batch_size, size)


def main(argv=None):
    """Runs the rows, prints a table and returns all measurements."""
    args = parse_args(argv)
    options = options_from(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    init_default_scope('mmdet')
    where = torch.cuda.get_device_name() if args.device == 'cuda' else f'CPU, {torch.get_num_threads()} threads'
    print(f'torch {torch.__version__}, {where}, {args.dtype}; medians of {args.repeats}')
    measurements = []
    for row in args.rows:
        for case in ROWS[row](options):
            measurements += measure(row, case, options.repeats, options.device)
            if args.json:
                args.json.write_text(json.dumps([m.as_dict() for m in measurements], indent=1) + '\n')
    print(as_table(measurements))
    if args.plot:
        plot_growth(measurements, args.plot)
    return measurements


if __name__ == '__main__':
    run(main)
