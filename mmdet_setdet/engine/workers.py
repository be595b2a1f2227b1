"""The processes of a data loader."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkContext, ForkProcess

from torch.utils.data import DataLoader

# Seconds without a batch after which a data loader gives up: before the processes that wait for this one do.
STALLED = 300


def protect_workers(loader: DataLoader) -> None:
    """Have the workers of a loader leave signals to the process that they work for.

    Slurm sends its signals to every process of a job. A worker that died of one would end the training in the middle
    of an iteration, before anything is saved.
    """
    loader.worker_init_fn = partial(_start, init=loader.worker_init_fn)
    is_fork = multiprocessing.get_start_method() == 'fork'
    if loader.num_workers and is_fork and loader.multiprocessing_context is None:
        loader.multiprocessing_context = _ForkContext()


class _Fork(ForkProcess):
    """Starts with SIGTERM blocked, and so do the threads that torch gives to a fork at once."""

    def start(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _ForkContext(ForkContext):
    Process = _Fork


def _start(worker_id: int, init: Callable[[int], None] | None) -> None:
    """Begin a worker with the data loader's own ``worker_init_fn``, if there is one."""
    if init is not None:
        init(worker_id)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # where it is no fork
    threading.Thread(target=_await_end, daemon=True).start()


def _await_end() -> None:
    """End the worker when the process that it works for asks for it."""
    sender = None
    while sender != os.getppid():
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
    os._exit(0)
