"""Checkpoints are read as data, never as programs.

A pickle may call any function while it is read. torch can read one with a list of allowed names instead
(``weights_only=True``), but mmengine does not hold to it: the maintained fork answers a refused file by reading it
again with everything allowed (and has ``getattr`` on its list), files from the network are read with everything
allowed on both stacks, and ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` opens the rest.

Importing this module makes mmengine's ``CheckpointLoader`` strict. All that mmengine and mmdet load passes through it:
``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')``, ``init_detector`` and ``DetInferencer``, from a file, a
URL or a store. ``torch.load`` called directly is left as it is.
"""
import argparse
import functools
import os
import pickle
import re
from contextlib import contextmanager
from urllib.error import URLError

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from ..errors import InputError

_STRICT, _LOOSE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


def _history_statistic(owner, name: str):
    """Stands in for the ``getattr`` in mmengine's checkpoints: they name the four statistics of a log history by it."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'GLOBAL getattr for {name!r} of {owner!r}')
    return getattr(owner, name)


def _harmless_globals() -> list:
    """What checkpoints hold beside tensors: mmengine's log history (numpy arrays) and DETR's command line."""
    array = np.zeros(1)
    reconstruct, scalar = array.__reduce__()[0], array[0].__reduce__()[0]
    names = [HistoryBuffer, (_history_statistic, 'builtins.getattr'), argparse.Namespace]
    names += [np.ndarray, np.dtype, reconstruct, scalar]
    # The same two functions under the name that the other major version of numpy writes.
    for function in (reconstruct, scalar):
        names += [(function, f'{package}.multiarray.{function.__name__}') for package in ('numpy.core', 'numpy._core')]
    return names + list({type(np.dtype(code)) for code in '?bhilqBHILQefdgFD'})


@contextmanager
def strict_loading():
    """Within this context every ``torch.load`` refuses all globals but torch's own and the harmless ones."""
    saved = {name: os.environ.pop(name, None) for name in (_STRICT, _LOOSE)}
    os.environ[_STRICT] = '1'
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            yield
    finally:
        del os.environ[_STRICT]
        os.environ.update({name: value for name, value in saved.items() if value is not None})


def _load_or_explain(load):
    @functools.wraps(load)
    def load_checkpoint(cls, filename, *args, **kwargs):
        with strict_loading():
            try:
                return load(cls, filename, *args, **kwargs)
            except pickle.UnpicklingError as error:
                refused = re.search(r'GLOBAL (\S+)', str(error))
                if refused:
                    raise InputError(
                        f'{filename}: refused, because reading it would run code: it names {refused[1]}, which is not '
                        'on the list of harmless names. Nothing of it has been run. If you trust where it comes from, '
                        "save its weights alone elsewhere: torch.save(dict(state_dict=...), 'weights.pth')") from error
                raise InputError(f'{filename}: not a checkpoint that can be read safely ({error})') from error
            except FileNotFoundError as error:
                raise InputError(
                    f'{filename}: no such checkpoint file. Where it is the first weights of a backbone, name another '
                    'by model.backbone.init_cfg.checkpoint=FILE, or begin without by model.backbone.init_cfg=None'
                ) from error
            except URLError as error:
                raise InputError(f'{filename}: cannot be downloaded ({error.reason}); get the file elsewhere and give '
                                 'its path') from error
            except (EOFError, OSError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and 'zip archive' not in str(error):
                    raise
                raise InputError(f'{filename}: incomplete or damaged, as after a kill while it was being written or '
                                 f'an interrupted download ({error})') from error

    return classmethod(load_checkpoint)


def _load_once(file, map_location=None, weights_only=None):
    """The fork's loader without its second, unsafe attempt."""
    return torch.load(file, map_location=map_location, weights_only=True)


if hasattr(mmengine_checkpoint, '_safe_torch_load'):
    mmengine_checkpoint._safe_torch_load = _load_once
CheckpointLoader.load_checkpoint = _load_or_explain(CheckpointLoader.load_checkpoint.__func__)
