"""The one switch of all fast paths."""
import os
from collections.abc import Iterator
from contextlib import contextmanager

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
