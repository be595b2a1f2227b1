"""Interleaved timing: every contender once a round, so that what else the machine does falls on all of them alike."""
import gc
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


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
        timed (bool): Whether it is timed. If not, ``ratio`` compares the memory.
        memory (bool): Whether its memory is measured on a CPU too; on a GPU it always is.
        at (tuple[str, float], optional): What grows over several cases, and its value here.
    """
    name: str
    ours: Contender
    peers: list[Contender]
    compare: Callable[[Any, Any], float]
    timed: bool = True
    memory: bool = False
    at: tuple[str, float] | None = None


@dataclass
class Measurement:
    """Ours against one peer. Times are medians in milliseconds, memory is in MiB; None is what was not measured.

    ``ratio`` is peer / ours of the time, or of the memory where that alone was measured: above 1 ours is better.
    ``max_abs_diff`` is None where outputs cannot be compared. Syncs are waits of the host for a GPU in one run, peak
    memory is what one run needs on top of what it found.
    """
    row: str
    case: str
    ours_ms: float | None
    peer: str
    peer_ms: float | None
    ratio: float
    max_abs_diff: float | None
    ours_syncs: int | None = None
    peer_syncs: int | None = None
    ours_peak_mib: float | None = None
    peer_peak_mib: float | None = None
    at: tuple[str, float] | None = None

    def as_dict(self) -> dict:
        """The entries that were measured; the first seven are always there."""
        entries = asdict(self)
        always = tuple(entries)[:7]
        return {name: value for name, value in entries.items() if value is not None or name in always}


def max_abs_diff(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference between two lists of tensors."""
    return max((a.float() - b.float()).abs().max().item() for a, b in zip(ours, theirs, strict=True))


def measure(row: str, case: Case, repeats: int, device: str, warmup: int = 1) -> list[Measurement]:
    """Compares the outputs of a case, then times ours, peer, ours, peer, ... ``repeats`` times, after warming up."""
    contenders = [case.ours, *case.peers]
    outputs = [contender.outputs() if contender.outputs else None for contender in contenders]
    differences = [None if None in (outputs[0], theirs) else case.compare(outputs[0], theirs) for theirs in outputs[1:]]
    del outputs
    ours_ms, *peers_ms = _medians_ms(row, case, contenders, repeats, device, warmup)
    ours_syncs, *peers_syncs = [device_syncs(contender.run, device) for contender in contenders]
    with_memory = case.memory or device == 'cuda'
    ours_peak, *peers_peak = [peak_mib(contender.run, device) if with_memory else None for contender in contenders]
    return [
        Measurement(row, case.name, ours_ms, peer.name, ms, ms / ours_ms if case.timed else peak / ours_peak, diff,
                    ours_syncs, syncs, ours_peak, peak, case.at)
        for peer, ms, diff, syncs, peak in zip(case.peers, peers_ms, differences, peers_syncs, peers_peak)
    ]


def _medians_ms(row: str, case: Case, contenders: Sequence[Contender], repeats: int, device: str,
                warmup: int) -> list[float | None]:
    times: list[list[float]] = [[] for _ in contenders]
    for turn in range(-warmup, repeats if case.timed else 0):
        for contender, seconds in zip(contenders, times):
            stage = 'warm-up' if turn < 0 else f'round {turn + 1}/{repeats}'
            _progress(f'{row}: {case.name}: {stage}, {contender.name}')
            elapsed = _seconds(contender.run, device)
            if turn >= 0:
                seconds.append(elapsed)
    _progress('')
    return [statistics.median(seconds) * 1e3 if seconds else None for seconds in times]


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


def peak_mib(run: Callable, device: str) -> float:
    """Memory that one run needs on top of what is held before it, in MiB, as torch's allocator counts it."""
    gc.collect()
    if device == 'cuda':
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # The profiler sees every block that torch takes and gives back, independent of what malloc and the system make of
    # it. Work memory within MKL and oneDNN is not torch's: it is not seen.
    os.environ.setdefault('KINETO_LOG_LEVEL', '6')  # the profiler reports its start and stop otherwise
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'trace.json')
        profiler.export_chrome_trace(str(file))
        events = [event for event in json.loads(file.read_text())['traceEvents'] if event.get('name') == '[memory]']
    sizes = [event['args']['Bytes'] for event in sorted(events, key=lambda event: event['ts'])]
    return max(accumulate(sizes), default=0) / 2**20


def as_table(measurements: Sequence[Measurement]) -> str:
    """Lines in columns for people, under a heading; those of memory and the device only if there are any."""
    heading = ['row', 'case', 'ours ms', 'peer', 'peer ms', 'ratio', 'max diff']
    with_device = any(m.ours_syncs is not None for m in measurements)
    with_memory = any(m.ours_peak_mib is not None for m in measurements)
    heading += ['syncs', 'peer syncs'] * with_device + ['MiB', 'peer MiB'] * with_memory
    lines = [heading]
    for m in measurements:
        line = [m.row, m.case, _cell(m.ours_ms, '.1f'), m.peer, _cell(m.peer_ms, '.1f'), f'{m.ratio:.2f}',
                _cell(m.max_abs_diff, '.1e')]
        line += [_cell(m.ours_syncs, 'd'), _cell(m.peer_syncs, 'd')] * with_device
        line += [_cell(m.ours_peak_mib, '.0f'), _cell(m.peer_peak_mib, '.0f')] * with_memory
        lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines)]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _cell(number: float | None, form: str) -> str:
    return '-' if number is None else format(number, form)


def _progress(text: str) -> None:
    """Rewrites one line on a terminal; elsewhere says nothing."""
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)
