"""The other processes of a distributed run: whether they live, and what all of them agree on."""

import datetime
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from .ending import Stopped, end

# Seconds that the main thread gets to end by itself when another process is gone.
_GRACE = 2.0
# Seconds that a launcher gets to see who failed first.
_HEAD_START = 1.0
_FOREVER = datetime.timedelta(days=3650)
_FAREWELL = 1  # tag of the message by which a process says that it is done
# How gloo and NCCL report a connection that broke or a process that does not answer.
_LOST = re.compile(
    r'gloo/transport|Connection (closed|reset|refused)|Timed out waiting|Broken pipe'
)


class Peers:
    """The processes of a distributed run, connected by CPU sockets (gloo) beside whatever backend adds the gradients.

    **Who lives.** From each of the others a process awaits a farewell, in a thread that sleeps. If one dies its sockets
    close, and the wait fails at once, on all machines and also where NCCL would block for minutes. If the main thread
    does not end by itself then, the thread ends the process.

    **Who wishes to stop.** In every iteration all exchange one byte, which travels while the iteration computes.

    All processes have to create it, and to call :meth:`ask`, :meth:`anyone` and :meth:`part`, at the same point of the
    program.
    """

    current: 'Peers | None' = None

    def __init__(self) -> None:
        self._group = distributed.new_group(backend='gloo')
        self._gone = None
        self._noticed = threading.Event()
        self._is_ending = threading.Event()
        me = distributed.get_rank()
        self._others = [rank for rank in range(distributed.get_world_size()) if rank != me]
        self._threads = []
        for rank in self._others:
            farewell = distributed.irecv(torch.zeros(1), rank, group=self._group, tag=_FAREWELL)
            thread = threading.Thread(target=self._watch, args=(rank, farewell), daemon=True)
            thread.start()
            self._threads.append(thread)
        Peers.current = self

    def _watch(self, rank: int, farewell: distributed.Work) -> None:
        """Await the farewell of another process; end this one if the other dies before."""
        try:
            farewell.wait(_FOREVER)
        except RuntimeError:
            if not self._noticed.is_set():
                self._gone = rank
                self._noticed.set()
            if not self._is_ending.wait(_GRACE):
                end(f'error: {self.explain()}')

    def part(self) -> None:
        """Say farewell to all others, and wait for theirs."""
        sends = [
            distributed.isend(torch.ones(1), rank, group=self._group, tag=_FAREWELL)
            for rank in self._others
        ]
        for send in sends:
            send.wait()
        for thread in self._threads:
            thread.join()
        Peers.current = None

    def ask(self, wish: bool) -> None:
        """Send this process's wish to the others, without waiting for theirs."""
        self._wish = torch.tensor(wish, dtype=torch.uint8)
        self._exchange = distributed.all_reduce(
            self._wish, distributed.ReduceOp.MAX, group=self._group, async_op=True
        )

    def anyone(self) -> bool:
        """Wait until all have asked; return whether any of them wished it."""
        self._exchange.wait()
        return bool(self._wish)

    def end(self) -> None:
        """Note that this process is about to end, so that no thread has to end it."""
        self._is_ending.set()

    def explain(self) -> str:
        """Return a sentence that says who is gone."""
        self._noticed.wait(_HEAD_START)
        # A launcher that saw this process leave first would name the wrong one.
        time.sleep(_HEAD_START)
        if self._gone is None:
            return 'the connection to another process broke. Start again with --resume'
        return (
            f'rank {self._gone} is gone. What it printed last tells why; if nothing, it was killed, for example '
            'for lack of memory. Start again with --resume'
        )


@contextmanager
def watching_peers() -> Iterator[None]:
    """Within this context no process of a distributed run outlives another that fails; all leave it together."""
    if not distributed.is_initialized():
        yield
        return
    peers = Peers()
    try:
        yield
    except Stopped:
        peers.part()
        raise
    peers.part()


def is_lost_connection(error: BaseException) -> bool:
    """Whether an exception says that another process cannot be reached."""
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None
