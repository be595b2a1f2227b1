"""Threads that make room for other programs on the cores of a CPU."""

import os
import time
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

STAT = Path('/proc/stat')
_TICKS = os.sysconf('SC_CLK_TCK')
# Fields of a core's line that count time without work: idle, iowait; guest times are in user and nice already.
_WORK = (0, 1, 2, 5, 6, 7)


class Usage(NamedTuple):
    """Seconds on a clock, seconds that our cores worked, and those of them that this process had."""

    clock: float
    cores: float
    own: float


class SpareCoresHook(Hook):
    """Compute with fewer threads while other programs use the cores.

    An iteration has hundreds of short parallel parts, after each of which the threads wait for the last one, spinning.
    A thread without a core to run on holds up all of them, and two threads on one free core are slower than one. So
    once per ``interval`` this looks how many cores others take, and leaves them these. For example on 2 cores: a
    program that is always busy takes 1.0, and one thread is left; it ends, and there are two again.

    Args:
        interval (float): Seconds between two looks.
    """

    priority = 'VERY_HIGH'

    def __init__(self, interval: float = 1.0) -> None:
        self.interval = interval
        self.most = torch.get_num_threads()
        self._last = measure()

    @staticmethod
    def is_useful() -> bool:
        """Whether the number of threads is ours to choose, and the use of the cores can be seen."""
        if 'OMP_NUM_THREADS' in os.environ or torch.get_num_threads() == 1:
            return False
        try:
            measure()
        except (OSError, KeyError):  # no Linux, or a container that shows other cores than it uses
            return False
        return True

    def _before_iter(self, runner: Runner, batch_idx: int, data_batch=None, mode='train') -> None:
        if time.monotonic() - self._last.clock < self.interval:
            return
        last, self._last = self._last, measure()
        clock, cores, own = (now - before for now, before in zip(self._last, last))
        threads = threads_beside((cores - own) / clock, self.most)
        if threads != torch.get_num_threads():
            print_log(f'{threads} of {self.most} threads, since others use the cores', 'current')
            torch.set_num_threads(threads)


def measure() -> Usage:
    """Read what the cores that this process may use have done so far."""
    cores = os.sched_getaffinity(0)
    lines = (line.split() for line in STAT.read_text().splitlines())
    times = {name: fields for name, *fields in lines if name.startswith('cpu')}
    ticks = sum(int(times[f'cpu{core}'][field]) for core in cores for field in _WORK)
    return Usage(time.monotonic(), ticks / _TICKS, time.process_time())


def threads_beside(others: float, most: int) -> int:
    """Return how many threads to use, 1 to ``most``, where other programs keep ``others`` cores busy."""
    free = round(len(os.sched_getaffinity(0)) - others)
    return max(1, min(most, free))
