"""The processes of a data loader."""

import os
import signal
import threading
from collections.abc import Callable

# Seconds without a batch after which a data loader gives up: before the processes that wait for this one do.
STALLED = 300


def start_worker(worker_id: int, init: Callable[[int], None] | None) -> None:
    """Initialise a worker, and leave signals to the process that it works for.

    Slurm sends its signals to every process of a job. A worker that died of one would end the training in the middle
    of an iteration, before anything is saved.

    Args:
        worker_id (int): Its number.
        init (Callable, optional): The data loader's own ``worker_init_fn``.
    """
    if init is not None:
        init(worker_id)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_await_end, daemon=True).start()


def _await_end() -> None:
    """End the worker when the process that it works for asks for it."""
    sender = None
    while sender != os.getppid():
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
    os._exit(0)
