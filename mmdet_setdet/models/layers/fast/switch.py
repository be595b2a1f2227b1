"""The one switch of all fast paths."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

VARIABLE = 'MMDET_SETDET_FAST'

_enabled = os.environ.get(VARIABLE, '1') != '0'


def enabled() -> bool:
    """Return whether fast paths may be taken: unless ``MMDET_SETDET_FAST`` was 0 when this module was imported."""
    return _enabled


@contextmanager
def use_fast_paths(enable: bool) -> Iterator[None]:
    """Turn all fast paths on or off within this context, whatever the environment says."""
    global _enabled
    before = _enabled
    _enabled = enable
    try:
        yield
    finally:
        _enabled = before


def graph_is_rewritten() -> bool:
    """Return whether torch.compile, torch.jit or torch.func looks at the operators: they know torch's own best."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    return torch._C._are_functorch_transforms_active()
