"""Errors while something is built from a config, which is where a wrong value in it shows, in one sentence."""

import functools
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.runner import Runner

from ..errors import InputError, one_line, short
from .peers import is_lost_connection


def describe(error: Exception) -> str:
    """Return the class, the message and the place of an error: 'KeyError: ... (resnet.py, line 412)'."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f' ({Path(frames[-1].filename).name}, line {frames[-1].lineno})' if frames else ''
    message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r'\1', one_line(error))
    message = short(message, longest=300) if message else 'no message'
    return f'{type(error).__name__}: {message}{place}'


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


@contextmanager
def first_step(runner: Runner, options: dict) -> Iterator[None]:
    """Blame the options of the command line for an error before the first step of a training is done.

    Without options, and later, the error is raised as it is: it may be anything.

    Args:
        runner (Runner): The runner that trains within this context.
        options (dict): Options that have been merged into its config.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        is_from_outside = 'DataLoader timed out' in str(error) or is_lost_connection(error)
        if runner.iter > 0 or not options or is_from_outside:
            raise
        names = ' '.join(f'{key}={short(value)}' for key, value in options.items())
        raise InputError(
            f'the first training step fails with --cfg-options {short(names, longest=300)}: {describe(error)}'
        ) from error


def explained(build: Callable, section: str) -> Callable:
    """Wrap a method of a runner that builds a section of its config, for :func:`building`."""

    @functools.wraps(build)
    def build_or_explain(self, *args, **kwargs):
        config = self.cfg.filename or 'the config'
        with building(f'{config}: {section} cannot be used as it is'):
            return build(self, *args, **kwargs)

    return build_or_explain
