"""Runs of the tools in processes of their own: forked, since a fresh one would take seconds to import everything."""

import faulthandler
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

LIMIT = 120


class Forked:
    """A process that runs a function, with its own copy of everything but threads.

    Tests with it are marked ``forks``.

    Args:
        function (Callable): Function without arguments.
        output (Path): File for what it prints.
        errors (Path, optional): File for what it prints as errors, if not the same.
        variables (dict): Environment variables to set in it.
    """

    def __init__(
        self, function: Callable, output: Path, errors: Path | None = None, **variables: str
    ) -> None:
        self.output = output
        self.errors = errors or output
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid:
            return
        self._run(function, variables)

    def _run(self, function: Callable, variables: dict) -> None:
        os.setpgid(0, 0)
        sys.stdout = sys.stderr = self.output.open('w', buffering=1)
        if self.errors != self.output:
            sys.stderr = self.errors.open('w', buffering=1)
        for number, file in ((1, sys.stdout), (2, sys.stderr)):
            os.dup2(file.fileno(), number)
        faulthandler.enable(sys.stderr)
        os.environ.update(variables)
        code = 1
        try:
            function()
            code = 0
        except SystemExit as end:
            code = end.code
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code or 0)

    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text() if self.output.exists() else ''

    def wait_for(self, text: str) -> None:
        """Wait until it prints ``text``."""
        end = time.monotonic() + LIMIT
        while text not in self.text():
            assert time.monotonic() < end, f'no {text!r} in:\n{self.text()}'
            time.sleep(0.02)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Return its exit code, negative for a signal; kill it when it takes too long."""
        end = time.monotonic() + LIMIT
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                self.kill(signal.SIGABRT)  # faulthandler writes where it stands
                os.waitpid(self.pid, 0)
                raise AssertionError(f'not ended after {LIMIT} seconds:\n{self.text()}')
            time.sleep(0.02)


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def fork_ranks(function: Callable, folder: Path, count: int = 2) -> list[Forked]:
    """Run a function in several processes that see torchrun's variables."""
    port = free_port()
    processes = []
    for rank in range(count):
        variables = dict(
            CUDA_VISIBLE_DEVICES='',
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(count),
            LOCAL_WORLD_SIZE=str(count),
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port),
        )
        processes.append(Forked(function, folder / f'rank_{rank}.txt', **variables))
    return processes
