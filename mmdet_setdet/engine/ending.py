"""How a process ends."""

import logging
import os
import sys
from typing import NoReturn

from torch import distributed

# "Temporary failure, try again" (sysexits.h).
STOPPED_CODE = 75


class Stopped(SystemExit):
    """All processes of a run end as agreed, with exit code 75, before the run is done."""

    def __init__(self) -> None:
        super().__init__(STOPPED_CODE)


def end(text: str | None = None, code: int = 1) -> NoReturn:
    """Print a text and end the program; in a distributed run, name the rank, and end at once.

    An interpreter that ends in the ordinary way frees what belongs to all processes together, and waits until they do
    the same: forever, if they wait for this one.
    """
    is_one_of_many = distributed.is_available() and distributed.is_initialized()
    if not is_one_of_many:
        sys.exit(text or code)
    if text:
        rank = f'rank {distributed.get_rank()} of {distributed.get_world_size()}'
        print(f'{rank}: {text}', file=sys.stderr)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
