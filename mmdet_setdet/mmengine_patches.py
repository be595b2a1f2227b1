"""Everything that importing mmdet_setdet changes outside of itself, in mmengine and in one place of torch.

Each change has a name, by which the environment variable ``MMDET_SETDET_WITHOUT`` leaves it out: a list such as
``MMDET_SETDET_WITHOUT=config_names,generated_images``, or ``all``. docs/install.md lists what then does not work.
"""

import os
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.fileio import register_backend
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.utils import is_installed

from .errors import InputError

SWITCH = 'MMDET_SETDET_WITHOUT'


def bare_names() -> None:
    """Enter the classes that mmdet lacks into mmengine's root registries, where every scope finds them.

    So ``custom_imports`` and ``type='CrossFormer'`` are all that a config of mmdet or mmseg needs. Nothing that is
    registered already is replaced.
    """
    from .registry import REGISTRIES

    for registry in REGISTRIES:
        registry.enter_bare_names()


def config_names() -> None:
    """Resolve ``mmdet_setdet::NAME.py`` in ``_base_`` and in ``Config.fromfile``, and the scope for ``DetInferencer``.

    mmengine knows a fixed list of packages, and its pattern for names requires a folder, which a flat config has not.
    Upstream's name of mmseg's distribution is replaced where the maintained fork is installed.
    """
    from .config_names import PREFIX, find_config

    MODULE2PACKAGE.setdefault('mmdet_setdet', 'mmdet-setdet')
    if find_spec('mmseg') and not is_installed(MODULE2PACKAGE['mmseg']):
        MODULE2PACKAGE['mmseg'] = 'mmseg'
    mmengine_resolve = Config._get_cfg_path

    def resolve(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            # The scope in which these configs are written is mmdet's: bare names are mmdet's where it has them.
            return find_config(cfg_path, filename), 'mmdet'
        if cfg_path.startswith('mmseg::'):
            from .compat import check_mmseg

            check_mmseg(filename)
        return mmengine_resolve(cfg_path, filename)

    Config._get_cfg_path = staticmethod(resolve)


def safe_checkpoints() -> None:
    """Make mmengine's ``CheckpointLoader`` refuse checkpoints that carry code, and explain what it cannot read.

    All that mmengine and mmdet load passes through it: ``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')``,
    ``init_detector`` and ``DetInferencer``, from a file, a URL or a store. ``torch.load`` itself is left as it is.
    """
    from .checkpoints.safe_load import load_once, load_safely

    load = CheckpointLoader.load_checkpoint.__func__
    CheckpointLoader.load_checkpoint = classmethod(load_safely(load))
    if hasattr(mmengine_checkpoint, '_safe_torch_load'):
        # The fork answers a refused file by reading it again with everything allowed.
        mmengine_checkpoint._safe_torch_load = load_once


def converted_checkpoints() -> None:
    """Let a checkpoint be named ``FAMILY+FILE`` to have it converted while it is loaded."""
    from .checkpoints.published import PREFIXES, load_converted

    CheckpointLoader.register_scheme(prefixes=PREFIXES, loader=load_converted, force=True)


def named_checkpoints() -> None:
    """Let a checkpoint be named as its config is, to have it looked for in the folder of ``SETDET_WEIGHTS``."""
    from .checkpoints.named import NAMES, load_from_name

    CheckpointLoader.register_scheme(prefixes=NAMES, loader=load_from_name, force=True)


def generated_images() -> None:
    """Let files be named ``shapes://...``, which mmengine's file client paints; ShapesDataset depends on it."""
    from .datasets.shapes_dataset import PREFIX, ShapesBackend

    register_backend(PREFIX, ShapesBackend, prefixes=PREFIX, force=True)


def operation_counts() -> None:
    """Let torch's ``FlopCounterMode``, and with it mmdet's tools, count the products of CrossFormer's fast path."""
    from .models.layers.fast.onednn_linear import count_operations

    count_operations()


class Patch(NamedTuple):
    """One change of mmengine or torch.

    Attributes:
        apply (Callable): Function that makes it.
        without (str): What to do, or what does not work, when it is left out.
    """

    apply: Callable[[], None]
    without: str


PATCHES = {
    'bare_names': Patch(
        bare_names, "write type='mmdet_setdet.CrossFormer' where configs say type='CrossFormer'"
    ),
    'config_names': Patch(
        config_names,
        'name the files of configs instead of mmdet_setdet::NAME.py, and pass them to DetInferencer',
    ),
    'safe_checkpoints': Patch(
        safe_checkpoints,
        'a checkpoint may run code while it is loaded: load those that you trust only',
    ),
    'converted_checkpoints': Patch(
        converted_checkpoints,
        'convert checkpoints of other code bases by tools/convert_checkpoint.py before loading',
    ),
    'named_checkpoints': Patch(named_checkpoints, 'give the files of checkpoints, not names'),
    'generated_images': Patch(
        generated_images, 'ShapesDataset and the configs of the quick start do not work'
    ),
    'operation_counts': Patch(
        operation_counts, 'count the operations of CrossFormer with MMDET_SETDET_FAST=0'
    ),
}


def left_out() -> list[str]:
    """Return the names of the changes that :data:`SWITCH` leaves out.

    Raises:
        InputError: A name is unknown.
    """
    names = [name.strip() for name in os.environ.get(SWITCH, '').split(',') if name.strip()]
    if names == ['all']:
        return list(PATCHES)
    unknown = [name for name in names if name not in PATCHES]
    if unknown:
        raise InputError(
            f'{SWITCH}: no change is named {", ".join(unknown)}; choose from {", ".join(PATCHES)}, or all'
        )
    return names


def apply_patches() -> None:
    """Make all changes but those that are left out, of which it warns."""
    names = left_out()
    for name, patch in PATCHES.items():
        if name in names:
            warnings.warn(f'{SWITCH} leaves out {name}: {patch.without}', stacklevel=3)
        else:
            patch.apply()


def require(name: str, feature: str) -> None:
    """Check that a change is made on which a feature depends.

    Raises:
        InputError: It is left out.
    """
    if name in left_out():
        raise InputError(
            f'{feature} needs {name}, which the environment variable {SWITCH} leaves out'
        )
