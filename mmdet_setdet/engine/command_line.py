"""The common parts of the command-line tools: arguments, the config with its options, the runner, plain errors."""

import argparse
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import record

from ..checks import merge_options
from ..compat import check_mmseg
from ..config_names import named_config
from ..datasets.folders import read_folder, use_folder
from ..errors import InputError, one_line
from .building import building
from .ending import end
from .peers import Peers, is_lost_connection
from .precision import AMP_DTYPES
from .stopping import INTERRUPTED


def make_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that training and testing have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file, or the name of one of ours')
    parser.add_argument(
        '--data',
        metavar='FOLDER',
        help='annotated images in the format of COCO, YOLO or Pascal VOC, in place of those of the config; classes '
        'are taken from there',
    )
    parser.add_argument(
        '--work-dir', help='where logs and checkpoints go (default: work_dirs/NAME_OF_CONFIG)'
    )
    add_config_options(
        parser,
        'settings of the config to replace, e.g. model.backbone.depth=18 key="[a,b]"; '
        'a key that nothing reads is an error',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=AMP_DTYPES,
        help='automatic mixed precision, by default in bfloat16 where the device has it, else in float16',
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
    data: str | None = None,
) -> Config:
    """Read a config file and merge the command line into it.

    Args:
        path (str): The file, the name of one of this package's configs such as ``dn_detr_r50_50e``, or a name in an
            installed package such as ``mmdet::detr/detr_r50_8xb2-150e_coco.py``.
        options (dict, optional): Settings to replace, ``{'model.backbone.depth': 18}``.
        launcher (str): What started this process: 'none', 'pytorch', 'slurm' or 'mpi'.
        work_dir (str, optional): Where logs and checkpoints go. Default: as the config says, or work_dirs/NAME.
        local_rank (int): Rank on this machine, unless the environment has it.
        data (str, optional): A folder of annotated images in place of the config's data, see :func:`read_folder`.

    Raises:
        InputError: The file does not exist, it requires mmseg and mmseg is missing, or nothing reads the key of an
            option.
    """
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    path = named_config(path)
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
    if data is not None:
        use_folder(cfg, read_folder(data), Path(cfg.work_dir, 'data'))
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config names, by default :class:`~mmdet_setdet.engine.runner.CheckingRunner`."""
    cfg.setdefault('runner_type', 'mmdet_setdet.CheckingRunner')
    with building(f'{cfg.filename or "the config"}: cannot be used'):
        return RUNNERS.build(cfg)


def run(main: Callable, argv: Sequence[str] | None = None) -> None:
    """Call ``main(argv)`` as a program, and end it so that no process of a distributed run stays behind.

    An :class:`~mmdet_setdet.errors.InputError`, a data loader that stalls and the loss of another process are one line
    without a traceback. After a failure a distributed process leaves at once: to destroy its process group would mean
    to wait for the others, which wait for it. The launcher then ends the others.
    """
    try:
        record(_call_plainly)(main, argv)
    except KeyboardInterrupt:
        end(code=INTERRUPTED)
    except SystemExit as stop:
        if not distributed.is_initialized():
            raise
        end(code=stop.code)
    except InputError as error:
        end(f'error: {error}')
    except Exception as error:
        if not distributed.is_initialized():
            raise
        traceback.print_exc()
        end(f'{type(error).__name__}: {error}')
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _call_plainly(main: Callable, argv: Sequence[str] | None) -> None:
    """Call ``main(argv)``; an error whose traceback tells a user nothing becomes an InputError without one."""
    try:
        main(argv)
    except Exception as error:
        if Peers.current is not None:
            Peers.current.end()
            # A launcher ends the others when one has failed; this one does so by itself, once it has said why.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        text = _plain_text(error)
        if text is None:
            raise
        raise InputError(text) from None


def _plain_text(error: Exception) -> str | None:
    """Return what to tell about an error without a traceback; None if it needs its traceback."""
    message = str(error)
    if isinstance(error, InputError):
        # From the worker of a data loader it comes with the worker's traceback before it.
        return message.rpartition('InputError: ')[2].rstrip()
    if 'DataLoader timed out' in message:
        return (
            f'{message}: a worker hangs, or reading is that slow. Look at the disk or network that the images '
            'are on; more time: train_dataloader.timeout=SECONDS (val_dataloader, test_dataloader); no workers: '
            'train_dataloader.num_workers=0 train_dataloader.persistent_workers=False'
        )
    if is_lost_connection(error) and Peers.current is not None:
        return Peers.current.explain()
    return None
