"""Checkpoints by the name of their config.

A file is named ``NAME-DIGITS.pth`` by the first digits of its SHA-256, as in mmdet's model zoo. It is looked for in the
folder that the environment variable ``SETDET_WEIGHTS`` names. So ``dn_detr_r18_shapes`` may stand wherever mmengine
takes a checkpoint file.
"""

import hashlib
import os
from pathlib import Path

from mmengine.runner.checkpoint import load_from_local

from ..errors import InputError

VARIABLE = 'SETDET_WEIGHTS'
DIGITS = 8
NAMES = r'[\w-]+$'  # a regular expression: neither a folder nor an ending


def digest(content: bytes) -> str:
    """Return the digits that the name of a file with this content has."""
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def weights_of(name: str, folder: Path) -> list[Path]:
    """Return the files in a folder that are named as weights of a config."""
    return sorted(folder.glob(f'{name}-{"[0-9a-f]" * DIGITS}.pth'))


def find_weights(name: str) -> Path:
    """Return the file with the weights of a config.

    Args:
        name (str): The config's name, ``'dn_detr_r50_50e'``.

    Raises:
        InputError: No folder is named, it has no weights of this config or several, or the file is damaged.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise InputError(
            f'{name}: no such checkpoint file; name one, or set {VARIABLE} to the folder in which weights are found by '
            'the names of their configs'
        )
    files = weights_of(name, Path(folder))
    if not files:
        raise InputError(
            f'{VARIABLE}={folder}: no weights of {name} there, whose file would be {name}-<{DIGITS} digits>.pth'
        )
    if len(files) > 1:
        names = ', '.join(file.name for file in files)
        raise InputError(f'{folder}: several weights of {name}; give the path of one of {names}')
    _check_digest(files[0])
    return files[0]


def _check_digest(file: Path) -> None:
    found = digest(file.read_bytes())
    if not file.stem.endswith(found):
        raise InputError(
            f'{file}: damaged or changed, since its SHA-256 begins with {found}; get it again'
        )


def load_from_name(filename: str, map_location=None) -> dict:
    """Read a checkpoint by the name of its config; a file of that very name goes first.

    Raises:
        InputError: See :func:`find_weights`.
    """
    file = filename if Path(filename).is_file() else find_weights(filename)
    return load_from_local(str(file), map_location)
