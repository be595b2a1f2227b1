"""The other processes of a distributed run: whether they live, and what all of them agree on."""

import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import distributed

from .ending import end

# Seconds that a process gets to end by itself, and that its launcher gets to see who failed first.
_GRACE = 3
_HEAD_START = 1
# How gloo and NCCL begin the report of a connection that broke or a process that does not answer.
_LOST = re.compile(
    r'gloo/transport|Connection (closed|reset|refused)|Timed out waiting|Broken pipe'
)


class _Process(NamedTuple):
    """Where a rank runs.

    Attributes:
        machine (str): The name of the machine and of the namespace in which ``pid`` counts.
        pid (int): Its number there.
    """

    machine: str
    pid: int


class Peers:
    """The processes of a distributed run, connected by CPU sockets (gloo) beside whatever backend moves the gradients.

    In every training iteration they exchange one byte, which is under way while the iteration computes: whether any of
    them wants to stop. When a process dies, its sockets close and the exchange fails at once on its neighbours, also
    where NCCL would wait for minutes. So no process stays behind in a run that cannot go on.

    All processes have to create it, and to call :meth:`ask` and :meth:`anyone`, at the same point of the program.
    """

    current: 'Peers | None' = None

    def __init__(self) -> None:
        self._group = distributed.new_group(backend='gloo')
        self._processes = [None] * distributed.get_world_size()
        namespace = Path('/proc/self/ns/pid')
        machine = f'{socket.gethostname()} {os.readlink(namespace) if namespace.exists() else ""}'
        me = _Process(machine, os.getpid())
        distributed.all_gather_object(self._processes, me, group=self._group)
        self._is_ending = threading.Event()
        Peers.current = self

    def ask(self, wish: bool) -> None:
        """Send this process's wish to the others, without waiting for theirs."""
        self._wish = torch.tensor(wish, dtype=torch.uint8)
        self._exchange = distributed.all_reduce(
            self._wish, distributed.ReduceOp.MAX, group=self._group, async_op=True
        )
        self._exchange.get_future().add_done_callback(self._check)

    def anyone(self) -> bool:
        """Wait for what all have asked; return whether any of them wished it."""
        self._exchange.wait()
        return bool(self._wish)

    def end(self) -> None:
        """Note that this process ends by itself and needs no further watch."""
        self._is_ending.set()

    def _check(self, exchange: torch.futures.Future) -> None:
        """End this process if the exchange failed and the main thread, which may wait forever, does not."""
        try:
            exchange.value()
        except RuntimeError:
            if not self._is_ending.wait(_GRACE):
                end(self.explain())

    def explain(self) -> str:
        """Return a sentence that says which ranks are gone, as far as it can be seen from this machine."""
        ranks = self._wait_for_gone()
        # A launcher that ends the others because this process left would name the wrong one.
        time.sleep(_HEAD_START)
        if not ranks:
            return (
                'error: the connection to another process broke, while all processes of this machine live: look at '
                'the other machines and the network. Start again with --resume'
            )
        names = [f'rank {rank} (process {self._processes[rank].pid})' for rank in ranks]
        verb = 'is' if len(names) == 1 else 'are'
        return (
            f'error: {" and ".join(names)} {verb} gone. What it printed last tells why; if nothing, it was killed, for '
            'example for lack of memory. Start again with --resume'
        )

    def _wait_for_gone(self) -> list[int]:
        """Return the ranks on this machine that have ended; a process may close its sockets a little before."""
        end = time.monotonic() + _GRACE
        while True:
            gone = self._gone()
            if gone or time.monotonic() > end:
                return gone
            time.sleep(0.05)

    def _gone(self) -> list[int]:
        mine = self._processes[distributed.get_rank()].machine
        gone = []
        for rank, process in enumerate(self._processes):
            if process.machine == mine and not _lives(process.pid):
                gone.append(rank)
        return gone


def _lives(pid: int) -> bool:
    """Whether a process runs; one that has ended but is still listed for its parent does not."""
    status = Path(f'/proc/{pid}/stat')
    try:
        # 17 (python) S ...: the name may contain spaces and brackets.
        state = status.read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in 'ZX'


def is_lost_connection(error: BaseException) -> bool:
    """Whether an exception says that another process cannot be reached."""
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None
