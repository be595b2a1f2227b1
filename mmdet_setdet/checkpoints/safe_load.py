"""Checkpoints are read as data, never as programs.

A pickle may call any function while it is read. torch can read one with a list of allowed names instead
(``weights_only=True``), but mmengine circumvents that: the maintained fork reads a refused file again with everything
allowed (and has ``getattr`` on its list), files from the network are read with everything allowed on both stacks, and
``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` does the same for all others. Here only harmless names are allowed, everywhere.

:func:`mmdet_setdet.mmengine_patches.safe_checkpoints` applies this to mmengine's loader.
"""

import argparse
import functools
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from ..errors import InputError, one_line, short
from ..mmengine_patches import require
from .families import FAMILIES

_STRICT = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_LOOSE = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


def _history_statistic(owner, name: str):
    """Replace ``getattr`` in mmengine's checkpoints, which name the four statistics of a log history by it."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'GLOBAL getattr for {name!r} of {owner!r}')
    return getattr(owner, name)


def _harmless_globals() -> list:
    """Return what checkpoints hold besides tensors: mmengine's log history (numpy arrays), DETR's command line."""
    array = np.zeros(1)
    reconstruct = array.__reduce__()[0]
    scalar = array[0].__reduce__()[0]
    names = [HistoryBuffer, (_history_statistic, 'builtins.getattr'), argparse.Namespace]
    names += [np.ndarray, np.dtype, reconstruct, scalar]
    # The same two functions under the names that numpy 1 and numpy 2 write.
    for function in (reconstruct, scalar):
        for package in ('numpy.core', 'numpy._core'):
            names.append((function, f'{package}.multiarray.{function.__name__}'))
    dtype_classes = {type(np.dtype(code)) for code in '?bhilqBHILQefdgFD'}
    return names + list(dtype_classes)


@contextmanager
def strict_loading() -> Iterator[None]:
    """Within this context every ``torch.load`` refuses all globals but torch's own and the harmless ones."""
    saved = {name: os.environ.pop(name, None) for name in (_STRICT, _LOOSE)}
    os.environ[_STRICT] = '1'
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            yield
    finally:
        del os.environ[_STRICT]
        for name, value in saved.items():
            if value is not None:
                os.environ[name] = value


def load_once(file, map_location=None, weights_only=None):
    """Replace the fork's ``_safe_torch_load``, without its second, unsafe attempt."""
    return torch.load(file, map_location=map_location, weights_only=True)


def load_safely(load: Callable) -> Callable:
    """Wrap ``CheckpointLoader.load_checkpoint``, a function (class, filename, ...), to load strictly.

    Errors of reading become an :class:`InputError` that names the file and says what to do.
    """

    @functools.wraps(load)
    def load_checkpoint(cls, filename: str, *args, **kwargs) -> dict:
        try:
            with strict_loading():
                content = load(cls, filename, *args, **kwargs)
        except pickle.UnpicklingError as error:
            raise _refusal(filename, error) from error
        except FileNotFoundError as error:
            raise _absence(filename) from error
        except URLError as error:
            raise InputError(
                f'{filename}: cannot be downloaded ({error.reason}); get the file elsewhere and give its path'
            ) from error
        except (EOFError, OSError) as error:
            raise _damage(filename, error) from error
        except InputError:
            raise
        # What torch's reader meets in a file of which bytes have changed.
        except (RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
            path = _local_file(filename)
            if not path.is_file():
                raise
            _check_sums(filename)
            if zipfile.is_zipfile(path):  # whole: the error is another one
                raise
            raise _damage(filename, error) from error
        _check_sums(filename)
        _check_content(content, filename)
        return content

    return load_checkpoint


def _refusal(filename: str, error: pickle.UnpicklingError) -> InputError:
    refused = re.search(r'GLOBAL (\S+)', str(error))
    if refused is None:
        return InputError(f'{filename}: not a checkpoint that can be read safely, or damaged')
    return InputError(
        f'{filename}: refused, because reading it would run code: it names {refused[1]}, which is not on the list of '
        'harmless names. Nothing of it has been run. If you trust where it comes from, save its weights alone '
        "elsewhere: torch.save(dict(state_dict=...), 'weights.pth')"
    )


def _absence(filename: str) -> InputError:
    family, plus, _ = filename.partition('+')
    if plus and family in FAMILIES:
        require('converted_checkpoints', f'{filename}: converting a checkpoint while it is loaded')
    return InputError(
        f'{filename}: no such checkpoint file. Where it is the first weights of a backbone, name another by '
        'model.backbone.init_cfg.checkpoint=FILE, or begin without by model.backbone.init_cfg=None'
    )


def _damage(filename: str, error: Exception | str) -> InputError:
    return InputError(
        f'{filename}: incomplete or damaged, as after a kill while it was being written or an interrupted download '
        f'({short(one_line(error), longest=120)})'
    )


def _local_file(filename: str) -> Path:
    """Return where a file lies, or lies after its download."""
    if '://' in filename:
        return Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(filename).path).name)
    return Path(filename)


def _check_sums(filename: str) -> None:
    """Compare the checksums in a file that torch has written, which its reader does not do: weights would be wrong.

    Raises:
        InputError: They differ.
    """
    path = _local_file(filename)
    if not path.is_file() or not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise _damage(filename, error) from error
    if damaged:
        raise _damage(filename, f'the checksum of its part {damaged} is wrong')


def _check_content(content, filename: str) -> None:
    """Check that a checkpoint is a dict of weights by name, or has one as ``state_dict``.

    Raises:
        InputError: It is something else.
    """
    weights = content.get('state_dict', content) if isinstance(content, dict) else content
    if not isinstance(weights, dict):
        raise InputError(f'{filename}: holds no weights but {type(weights).__name__}')
    nameless = [name for name in weights if not isinstance(name, str)]
    if nameless:
        raise InputError(f'{filename}: holds no weights by name but {short(nameless[0])}')
