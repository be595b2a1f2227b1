"""Messages of the stack that tell a user nothing and come with every run; all others pass.

A message belongs here only if it is about the stack's own code, not about the user's data, config or environment.
"""

import contextlib
import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator

# How its messages begin (a regular expression) -> why it is noise.
WARNINGS = {
    'pkg_resources is deprecated': "upstream mmengine's own import, with the setuptools that it requires",
    'faster_coco_eval is not installed': 'the fork says so on import, whatever metric is used',
    r'Warning: The (bbox|polygon) is out of bounds': 'a predicted box may reach over the border of its picture',
}
PRINTS = {
    'Could not import OneDL': "the fork's data sets of a service that it offers; nothing here uses them",
}
LOGS = {
    '"FileClient" will be deprecated': 'mmengine uses it itself, in its CheckpointHook',
    '"HardDiskBackend" is the alias': 'the same',
}


def ignore_warnings() -> None:
    """Ignore the Python warnings of :data:`WARNINGS` from now on."""
    for start in WARNINGS:
        warnings.filterwarnings('ignore', message=start)


def is_no_noise(record: logging.LogRecord) -> bool:
    """Return whether a record of a log is to be shown, a filter for ``Logger.addFilter``."""
    return not _starts(LOGS, record.getMessage())


@contextlib.contextmanager
def without_prints() -> Iterator[None]:
    """Within this context, leave out the lines of :data:`PRINTS` that are printed."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines(keepends=True):
            if not _starts(PRINTS, line):
                sys.stdout.write(line)


def _starts(table: dict[str, str], message: str) -> bool:
    return any(re.match(start, message) for start in table)
