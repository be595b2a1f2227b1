#!/usr/bin/env python
"""Time this package against mmdet and, where available, other implementations: ``tools/benchmark.py matching``.

Every peer has the same weights and inputs as ours, and all take turns in one run. A ratio above 1 means that ours is
faster. See docs/benchmark.md.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import mmdet_setdet  # noqa: F401  (before the stack, whose import messages it leaves out)

# isort: split
import torch
from mmengine.registry import init_default_scope

from mmdet_setdet.engine.command_line import run
from mmdet_setdet.engine.devices import gpu_problem
from mmdet_setdet.errors import InputError

if not Path(__file__).with_name('benchmarks').is_dir():
    raise SystemExit(
        'error: the benchmark is not part of an installed mmdet_setdet: clone the repository, in which '
        'tools/benchmarks lies, and run its tools/benchmark.py'
    )

from benchmarks import ROWS, Measurement, Options, as_table, measure, plot_growth
from benchmarks.options import DTYPES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'rows', nargs='+', choices=ROWS, metavar='ROW', help=f'any of {", ".join(ROWS)}'
    )
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='also write the results to FILE, a list of dicts'
    )
    parser.add_argument(
        '--plot', type=Path, metavar='FILE', help='row growth: also plot it, to a PNG'
    )
    parser.add_argument(
        '--repeats', type=int, default=10, help='timed runs of each side (default: %(default)s)'
    )
    parser.add_argument(
        '--threads', type=int, help='CPU threads that torch uses (default: its own choice)'
    )
    parser.add_argument(
        '--device', choices=['cpu', 'cuda'], default='cpu', help='where to compute (default: cpu)'
    )
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        default='float32',
        help='bf16, float16: automatic mixed precision',
    )
    parser.add_argument('--batch-size', type=int, help="images per batch (default: the row's own)")
    parser.add_argument(
        '--size', metavar='HxW', help='height and width of the images, e.g. 480x640'
    )
    return parser.parse_args(argv)


def options_from(args: argparse.Namespace) -> Options:
    """Check the values of the command line.

    Raises:
        InputError: A value cannot be used here.
    """
    if args.device == 'cuda' and not torch.cuda.is_available():
        reason = gpu_problem() or 'torch sees no GPU here; leave the option out'
        raise InputError(f'--device cuda: {reason}')
    if args.repeats < 1:
        raise InputError(f'--repeats {args.repeats}: must be 1 or more')
    if args.batch_size is not None and args.batch_size < 1:
        raise InputError(f'--batch-size {args.batch_size}: must be 1 or more')
    if args.threads is not None and args.threads < 1:
        raise InputError(f'--threads {args.threads}: must be 1 or more')
    if args.json and not args.json.parent.is_dir():
        raise InputError(f'--json {args.json}: no such folder')
    if args.plot and 'growth' not in args.rows:
        raise InputError(
            f'--plot {args.plot}: plots the row growth, which is not among {", ".join(args.rows)}'
        )
    return Options(args.repeats, args.device, args.dtype, args.batch_size, parse_size(args.size))


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Return height and width of '480x640'."""
    if text is None:
        return None
    try:
        height, width = map(int, text.split('x'))
    except ValueError:
        raise InputError(f'--size {text}: give height and width as in 480x640') from None
    if min(height, width) < 32:
        raise InputError(f'--size {text}: both must be 32 or more')
    return height, width


def main(argv: Sequence[str] | None = None) -> list[Measurement]:
    """Run the rows, print a table and return all measurements."""
    args = parse_args(argv)
    options = options_from(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    init_default_scope('mmdet')
    device = (
        torch.cuda.get_device_name()
        if args.device == 'cuda'
        else f'CPU ({torch.backends.cpu.get_cpu_capability()}), {torch.get_num_threads()} threads'
    )
    print(f'torch {torch.__version__}, {device}, {args.dtype}; medians of {args.repeats}')
    measurements = []
    try:
        for row in args.rows:
            for case in ROWS[row](options):
                measurements += measure(row, case, options.repeats, options.device)
                if args.json:
                    entries = [measurement.as_dict() for measurement in measurements]
                    args.json.write_text(json.dumps(entries, indent=1) + '\n')
    finally:  # a row that fails does not take with it what was measured before
        print(as_table(measurements))
    if args.plot:
        plot_growth(measurements, args.plot)
    return measurements


if __name__ == '__main__':
    run(main)
