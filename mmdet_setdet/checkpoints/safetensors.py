"""Reads safetensors files: a length, a JSON header, raw numbers. Small enough not to depend on the package for it."""
import json
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError

DTYPES = {'F64': torch.float64, 'F32': torch.float32, 'F16': torch.float16, 'BF16': torch.bfloat16, 'I64': torch.int64,
          'I32': torch.int32, 'I16': torch.int16, 'I8': torch.int8, 'U8': torch.uint8, 'BOOL': torch.bool}


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Raises:
        InputError: There is no such file, it ends too early, or it is of another format.
    """
    try:
        content = memoryview(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror})') from error
    start = 8 + int.from_bytes(content[:8], 'little')
    try:
        header = json.loads(bytes(content[8:start]))
        header.pop('__metadata__', None)
        entries = {name: (DTYPES[entry['dtype']], entry['shape'], *entry['data_offsets'])
                   for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f'{path}: not a safetensors file, or cut off within its header ({error!r})') from error
    needed = start + max((end for *_, end in entries.values()), default=0)
    if needed > len(content):
        raise InputError(f'{path}: cut off, as after an interrupted download: {len(content)} of {needed} bytes')
    try:
        # A copy of each, so that one tensor does not keep the whole file in memory.
        return {name: torch.frombuffer(bytearray(content[start + begin:start + end]), dtype=dtype).reshape(shape)
                for name, (dtype, shape, begin, end) in entries.items()}
    except (RuntimeError, ValueError) as error:
        raise InputError(f'{path}: its header does not describe its content ({error})') from error
