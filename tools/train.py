#!/usr/bin/env python
"""Train a model: ``tools/train.py CONFIG``. Several processes: ``tools/dist_train.sh CONFIG GPUS``."""

from collections.abc import Sequence

import mmdet_setdet  # noqa: F401  (before the stack, whose import messages it leaves out)

# isort: split
from torch import nn

from mmdet_setdet.engine.building import first_step
from mmdet_setdet.engine.command_line import build_runner, load_config, make_parser, run
from mmdet_setdet.engine.precision import amp_options
from mmdet_setdet.errors import InputError


def main(argv: Sequence[str] | None = None) -> nn.Module:
    """Train as the command line says; return the trained model."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='FILE',
        help='continue from FILE or, without one, from the newest complete checkpoint in the work_dir',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size of all processes together',
    )
    args = parser.parse_args(argv)
    options = amp_options(args.amp, args.cfg_options) if args.amp else args.cfg_options
    cfg = load_config(
        args.config, options, args.launcher, args.work_dir, args.local_rank, args.data
    )
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise InputError(
                f'--auto-scale-lr: {args.config} does not say for which batch size its learning rate is '
                'meant; add auto_scale_lr=dict(base_batch_size=...)'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = 'auto' if args.resume == 'auto' else True
        cfg.load_from = cfg.get('load_from') if args.resume == 'auto' else args.resume
    runner = build_runner(cfg)
    with first_step(runner, args.cfg_options):
        return runner.train()


if __name__ == '__main__':
    run(main)
