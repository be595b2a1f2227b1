"""Weights from safetensors files."""

from pathlib import Path

from torch import Tensor

from ..errors import InputError


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Raises:
        InputError: The package safetensors or the file is missing, or the file is damaged or of another format.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(
            f'{path}: reading it needs the package safetensors: `pip install --no-deps safetensors`'
        ) from error
    try:
        return load_file(path)
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror or error})') from error
    except SafetensorError as error:
        raise InputError(
            f'{path}: not a safetensors file, or cut off, as after an interrupted download ({error})'
        ) from error
