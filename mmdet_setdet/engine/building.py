"""Errors while something is built from a config, which is where a wrong value in it shows, in one sentence."""

import functools
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError, one_line


def describe(error: Exception) -> str:
    """Return the class, the message and the place of an error: 'KeyError: ... (resnet.py, line 412)'."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f' ({Path(frames[-1].filename).name}, line {frames[-1].lineno})' if frames else ''
    return f'{type(error).__name__}: {one_line(error) or "no message"}{place}'


@contextmanager
def building(what: str) -> Iterator[None]:
    """Turn any error within this context into an :class:`InputError` that starts with ``what``.

    It is for the short phases in which a config or a file is turned into objects, not for training or testing, where an
    error may be anything.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f'{what}: {describe(error)}') from error


def explained(build: Callable, section: str) -> Callable:
    """Wrap a method of a runner that builds a section of its config, for :func:`building`."""

    @functools.wraps(build)
    def build_or_explain(self, *args, **kwargs):
        config = self.cfg.filename or 'the config'
        with building(f'{config}: {section} cannot be used as it is'):
            return build(self, *args, **kwargs)

    return build_or_explain
