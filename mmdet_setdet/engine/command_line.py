"""The common parts of the command-line tools: arguments, the config with its options, the runner, plain errors."""

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
from ..errors import InputError, one_line
from .building import building


def make_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that training and testing have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='where logs and checkpoints go (default: work_dirs/NAME_OF_CONFIG)'
    )
    add_config_options(
        parser,
        'settings of the config to replace, e.g. model.backbone.depth=18 key="[a,b]"; '
        'a key that nothing reads is an error',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started this process (tools/dist_*.sh and slurm_*.sh set it)',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


class _Options(DictAction):
    """mmengine's action, which stops with a traceback at an argument without ``=``."""

    def __call__(self, parser, namespace, values, option_string=None):
        for value in values:
            key, equals, _ = value.partition('=')
            if not key or not equals:
                parser.error(
                    f'{option_string} {value!r}: give KEY=VALUE, e.g. model.backbone.depth=18'
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError) as error:
            parser.error(f'{option_string} {" ".join(values)}: {one_line(error)}')


def add_config_options(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--cfg-options`` with a help text; it becomes a dict."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=_Options, default={}, metavar='KEY=VALUE', help=text
    )


def load_config(
    path: str,
    options: dict | None = None,
    launcher: str = 'none',
    work_dir: str | None = None,
    local_rank: int = 0,
) -> Config:
    """Read a config file and merge the command line into it.

    Args:
        path (str): The file, or a name in an installed package such as ``mmdet::detr/detr_r50_8xb2-150e_coco.py``.
        options (dict, optional): Settings to replace, ``{'model.backbone.depth': 18}``.
        launcher (str): What started this process: 'none', 'pytorch', 'slurm' or 'mpi'.
        work_dir (str, optional): Where logs and checkpoints go. Default: as the config says, or work_dirs/NAME.
        local_rank (int): Rank on this machine, unless the environment has it.

    Raises:
        InputError: The file does not exist, it requires mmseg and mmseg is missing, or nothing reads the key of an
            option.
    """
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    # mmengine looks up `mmdet::name.py` and the like in an installed package.
    if '::' not in path and not Path(path).is_file():
        raise InputError(f'{path}: no such config file')
    with building(f'{path}: cannot be read as a config'):
        cfg = Config.fromfile(path)
    if 'model' not in cfg:
        raise InputError(f'{path}: describes no model')
    if cfg.get('default_scope') == 'mmseg':
        check_mmseg(path)
    with building('--cfg-options'):
        merge_options(cfg, options or {})
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(path).stem))
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config names, by default :class:`~mmdet_setdet.engine.runner.CheckingRunner`."""
    cfg.setdefault('runner_type', 'mmdet_setdet.CheckingRunner')
    with building(f'{cfg.filename or "the config"}: cannot be used'):
        return RUNNERS.build(cfg)


def run(main: Callable, argv: Sequence[str] | None = None) -> None:
    """Call ``main(argv)`` as a program: print an InputError as one line, without a traceback."""
    try:
        main(argv)
    except InputError as error:
        sys.exit(f'error: {error}')
    finally:
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
