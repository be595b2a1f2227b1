"""Signals that stop a training: SIGTERM and SIGUSR1 after the iteration, with a checkpoint; Ctrl-C at once."""

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from .checkpoint_hook import POINTER, STOPPED, replacing
from .ending import Stopped
from .peers import Peers

INTERRUPTED = 128 + signal.SIGINT
# torchrun passes Ctrl-C on to processes that have had it from the terminal already.
_ECHO = 1.0


def how_to_go_on() -> str:
    """Return the command that resumes this training, as far as this process can tell."""
    if Peers.current is not None:
        return 'start the same command again with --resume'
    arguments = [argument for argument in sys.argv if argument != '--resume']
    return f'run: {shlex.join(["python", *arguments, "--resume"])}'


class StopOnSignalHook(Hook):
    """Save a checkpoint and end the program when SIGTERM or SIGUSR1 arrives.

    The running iteration is finished; a validation, too. The checkpoint is ``stopped.pth`` in the work_dir, which
    ``--resume`` finds and the next regular checkpoint replaces. The exit code is 75.

    In a distributed run the processes may get the signal in different iterations, or only one gets it. They agree
    through :class:`~mmdet_setdet.engine.peers.Peers`: all stop after the same iteration, at most one later.
    """

    priority = 'LOWEST'  # after the hooks that save, log and step the schedule

    def __init__(self) -> None:
        self._received = None
        self._interrupted_at = None
        self._is_listening = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within this context signals are answered."""
        handlers = {
            signal.SIGTERM: self._note,
            signal.SIGUSR1: self._note,
            signal.SIGINT: self._interrupt,
        }
        if threading.current_thread() is not threading.main_thread():
            handlers = {}  # Python allows them to the main thread only
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        self._is_listening = True
        try:
            yield
        finally:
            self._is_listening = False
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        self._received = signal.Signals(number).name
        print_log(f'{self._received}: the training stops after this iteration', logger='current')

    def _interrupt(self, number: int, frame) -> None:
        now = time.monotonic()
        if self._interrupted_at is None:
            self._interrupted_at = now
            raise KeyboardInterrupt
        if now - self._interrupted_at > _ECHO:
            os._exit(INTERRUPTED)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self._ask()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        self._stop_if_wished(runner, runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if self._is_listening:
            self._ask()
            self._stop_if_wished(runner, runner.iter)

    def _ask(self) -> None:
        if Peers.current is not None:
            Peers.current.ask(self._received is not None)

    def _is_wished(self) -> bool:
        if Peers.current is not None:
            return Peers.current.anyone()
        return self._received is not None

    def _stop_if_wished(self, runner: Runner, iterations: int) -> None:
        """Save and end, if any process got a signal and there is something left to do."""
        if not self._is_wished() or iterations == runner.max_iters:
            return
        meta = dict(epoch=runner.epoch, iter=iterations)
        runner.save_checkpoint(runner.work_dir, STOPPED, meta=meta, by_epoch=False)
        path = Path(runner.work_dir, STOPPED)
        if is_main_process():
            with replacing(path.with_name(POINTER)) as file:
                file.write_text(str(path))
        runner.logger.info(
            f'Stopped by {self._received or "a signal to another process"} after iteration {iterations} of '
            f'{runner.max_iters}; all of it is saved in {path}. To go on, {how_to_go_on()}'
        )
        raise Stopped
