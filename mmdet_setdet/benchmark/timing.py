"""Interleaved timing: every contender once a round, so that what else the machine does falls on all of them alike."""
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Contender:
    """One side of a comparison.

    Attributes:
        name (str): 'ours', or whose code it is.
        run (Callable): What is timed.
        outputs (Callable, optional): What is compared, called once before the timing: tensors, or anything that the
            case's ``compare`` takes. None: these results cannot be compared.
    """
    name: str
    run: Callable[[], Any]
    outputs: Callable[[], Any] | None = None


@dataclass
class Case:
    """What is measured under one name: ours and its peers on the same weights and inputs.

    Attributes:
        name (str): Says what is computed and at which size.
        ours (Contender): Ours.
        peers (list[Contender]): The others.
        compare (Callable): Difference of two contenders' outputs.
    """
    name: str
    ours: Contender
    peers: list[Contender]
    compare: Callable[[Any, Any], float]


@dataclass
class Measurement:
    """Ours against one peer. Times are medians in milliseconds; ``ratio`` is peer_ms / ours_ms: above 1 ours is faster.

    ``max_abs_diff`` is None where outputs cannot be compared. Syncs (waits of the host for the device) and peak memory
    (MiB) of one run are None on a CPU.
    """
    row: str
    case: str
    ours_ms: float
    peer: str
    peer_ms: float
    ratio: float
    max_abs_diff: float | None
    ours_syncs: int | None = None
    peer_syncs: int | None = None
    ours_peak_mib: float | None = None
    peer_peak_mib: float | None = None

    def as_dict(self) -> dict:
        """The entries that were measured; the first seven are always there."""
        entries = asdict(self)
        return {name: value for name, value in entries.items() if value is not None or name == 'max_abs_diff'}


def max_abs_diff(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference between two lists of tensors."""
    return max((a.float() - b.float()).abs().max().item() for a, b in zip(ours, theirs, strict=True))


def measure(row: str, case: Case, repeats: int, device: str, warmup: int = 1) -> list[Measurement]:
    """Compares the outputs of a case, then times ours, peer, ours, peer, ... ``repeats`` times, after warming up."""
    contenders = [case.ours, *case.peers]
    outputs = [contender.outputs() if contender.outputs else None for contender in contenders]
    differences = [None if None in (outputs[0], theirs) else case.compare(outputs[0], theirs) for theirs in outputs[1:]]
    del outputs
    times: list[list[float]] = [[] for _ in contenders]
    for turn in range(-warmup, repeats):
        for contender, seconds in zip(contenders, times):
            stage = 'warm-up' if turn < 0 else f'round {turn + 1}/{repeats}'
            _progress(f'{row}: {case.name}: {stage}, {contender.name}')
            elapsed = _seconds(contender.run, device)
            if turn >= 0:
                seconds.append(elapsed)
    _progress('')
    ours_ms, *peers_ms = [statistics.median(seconds) * 1e3 for seconds in times]
    ours_syncs, *peers_syncs = [device_syncs(contender.run, device) for contender in contenders]
    ours_peak, *peers_peak = [peak_mib(contender.run, device) for contender in contenders]
    return [
        Measurement(row, case.name, ours_ms, peer.name, ms, ms / ours_ms, diff, ours_syncs, syncs, ours_peak, peak)
        for peer, ms, diff, syncs, peak in zip(case.peers, peers_ms, differences, peers_syncs, peers_peak)
    ]


def _seconds(run: Callable, device: str) -> float:
    if device == 'cuda':
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def device_syncs(run: Callable, device: str) -> int | None:
    """How often the host waits for the device in one run, as CUDA's sync debug mode sees it; None on a CPU."""
    if device != 'cuda':
        return None
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode('default')
    return sum('synchronizing CUDA operation' in str(warning.message) for warning in caught)


def peak_mib(run: Callable, device: str) -> float | None:
    """Memory that one run needs on top of what is held before it, in MiB; None on a CPU."""
    if device != 'cuda':
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def as_table(measurements: Sequence[Measurement]) -> str:
    """Lines in columns for people, under a heading; those of the device only if there are any."""
    heading = ['row', 'case', 'ours ms', 'peer', 'peer ms', 'ratio', 'max diff']
    with_device = any(m.ours_syncs is not None for m in measurements)
    if with_device:
        heading += ['syncs', 'peer syncs', 'MiB', 'peer MiB']
    lines = [heading]
    for m in measurements:
        difference = '-' if m.max_abs_diff is None else f'{m.max_abs_diff:.1e}'
        line = [m.row, m.case, f'{m.ours_ms:.1f}', m.peer, f'{m.peer_ms:.1f}', f'{m.ratio:.2f}', difference]
        if with_device:
            line += [str(m.ours_syncs), str(m.peer_syncs), f'{m.ours_peak_mib:.0f}', f'{m.peer_peak_mib:.0f}']
        lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines)]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _progress(text: str) -> None:
    """Rewrites one line on a terminal; elsewhere says nothing."""
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)
