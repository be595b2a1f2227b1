"""What tools/train.py and tools/test.py share: arguments, the config with its options, the runner, plain errors."""
import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import distributed

from ..checks import merge_options
from ..compat import check_mmseg
from ..errors import InputError


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that training and testing have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/NAME_OF_CONFIG)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                        help='settings of the config to replace, e.g. model.backbone.depth=18 key="[a,b]"; '
                             'a key that nothing reads is an error')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='what started this process (tools/dist_*.sh and slurm_*.sh set it)')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def load_config(args: argparse.Namespace) -> Config:
    """The config file with its options, launcher and work_dir.

    Raises:
        InputError: There is no such file, it needs mmseg and there is none, or an option has a key that nothing reads.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    # `mmdet::name.py` and the like are found by mmengine in an installed package.
    if '::' not in args.config and not Path(args.config).is_file():
        raise InputError(f'{args.config}: no such config file')
    cfg = Config.fromfile(args.config)
    if cfg.get('default_scope') == 'mmseg':
        check_mmseg(args.config)
    merge_options(cfg, args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(args.config).stem))
    return cfg


def build_runner(cfg: Config) -> Runner:
    """The runner that the config names, by default :class:`~mmdet_setdet.engine.runner.CheckingRunner`."""
    cfg.setdefault('runner_type', 'mmdet_setdet.CheckingRunner')
    return RUNNERS.build(cfg)


def run(main: Callable, argv: Sequence[str] | None = None) -> None:
    """Calls ``main(argv)`` as a program: an InputError is printed as one line, without a traceback."""
    try:
        main(argv)
    except InputError as error:
        sys.exit(f'error: {error}')
    finally:
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
