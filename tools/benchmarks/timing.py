"""Interleaved timing: every contender runs once per round, so that other load on the machine falls on all alike."""

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
        run (Callable): The timed computation.
        outputs (Callable, optional): Returns what is compared: tensors, or anything that the case's ``compare``
            accepts. Called once, before the timing. None: the results cannot be compared.
    """

    name: str
    run: Callable[[], Any]
    outputs: Callable[[], Any] | None = None


@dataclass
class Case:
    """Our code and its peers on the same weights and inputs.

    Attributes:
        name (str): The computation and its size.
        ours (Contender): Our side.
        peers (list[Contender]): The other sides.
        compare (Callable): Difference of two contenders' outputs.
        timed (bool): Whether it is timed. If not, ``ratio`` compares the memory.
        memory (bool): Whether its memory is measured on a CPU too; on a GPU it always is.
        at (tuple[str, float], optional): The quantity that grows over several cases, and its value here.
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
    """Our code against one peer.

    Attributes:
        row (str): Row of the benchmark.
        case (str): Name of the case.
        ours_ms (float, optional): Our median time in milliseconds; None if not measured, as everywhere below.
        peer (str): Name of the peer.
        peer_ms (float, optional): Its median time.
        ratio (float): peer / ours of the time, or of the memory where only that was measured. Above 1 ours is better.
        max_abs_diff (float, optional): Difference of the outputs; None where they cannot be compared.
        ours_syncs (int, optional): How often the host waits for the GPU in one run.
        peer_syncs (int, optional): The same of the peer.
        ours_peak_mib (float, optional): Memory that one run needs in addition to what is held before it, in MiB.
        peer_peak_mib (float, optional): The same of the peer.
        at (tuple[str, float], optional): See :class:`Case`.
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
        """Return the measured entries; the first seven are always included."""
        entries = asdict(self)
        for name in list(entries)[7:]:
            if entries[name] is None:
                del entries[name]
        return entries


def max_abs_diff(ours: Sequence[Tensor], peers: Sequence[Tensor]) -> float:
    """Return the largest absolute difference between two lists of tensors."""
    return max((a.float() - b.float()).abs().max().item() for a, b in zip(ours, peers, strict=True))


def measure(row: str, case: Case, repeats: int, device: str, warmup: int = 1) -> list[Measurement]:
    """Compare the outputs of a case, then measure it.

    Args:
        row (str): Row of the benchmark.
        case (Case): What to measure.
        repeats (int): Timed rounds; in each of them our side and all peers run once.
        device (str): 'cpu' or 'cuda'.
        warmup (int): Rounds before them that are not timed.

    Returns:
        list[Measurement]: One per peer.
    """
    contenders = [case.ours, *case.peers]
    differences = _differences(case)
    ours_ms, *peers_ms = _medians_ms(row, case, contenders, repeats, device, warmup)
    ours_syncs, *peers_syncs = [device_syncs(contender.run, device) for contender in contenders]
    with_memory = case.memory or device == 'cuda'
    ours_peak, *peers_peak = [
        peak_mib(contender.run, device) if with_memory else None for contender in contenders
    ]
    measurements = []
    for index, peer in enumerate(case.peers):
        ratio = peers_ms[index] / ours_ms if case.timed else peers_peak[index] / ours_peak
        measurements.append(
            Measurement(
                row=row,
                case=case.name,
                ours_ms=ours_ms,
                peer=peer.name,
                peer_ms=peers_ms[index],
                ratio=ratio,
                max_abs_diff=differences[index],
                ours_syncs=ours_syncs,
                peer_syncs=peers_syncs[index],
                ours_peak_mib=ours_peak,
                peer_peak_mib=peers_peak[index],
                at=case.at,
            )
        )
    return measurements


def _differences(case: Case) -> list[float | None]:
    """Compare our outputs with those of each peer; None where one side has none."""
    if case.ours.outputs is None:
        return [None] * len(case.peers)
    ours = case.ours.outputs()
    return [
        None if peer.outputs is None else case.compare(ours, peer.outputs()) for peer in case.peers
    ]


def _medians_ms(
    row: str, case: Case, contenders: Sequence[Contender], repeats: int, device: str, warmup: int
) -> list[float | None]:
    """Return the median time of each contender in milliseconds, None if the case is not timed."""
    times: list[list[float]] = [[] for _ in contenders]
    for turn in range(-warmup, repeats if case.timed else 0):
        stage = 'warm-up' if turn < 0 else f'round {turn + 1}/{repeats}'
        for contender, seconds in zip(contenders, times):
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
    """Count how often the host waits for the device in one run, by CUDA's sync debug mode; None on a CPU."""
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
    """Return the memory that one run needs on top of what is held before it, in MiB, as torch's allocator counts it."""
    gc.collect()
    if device == 'cuda':
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # The profiler sees every block that torch allocates and frees, independent of malloc and the system. Work memory
    # inside MKL and oneDNN is not torch's, so it is not seen.
    os.environ.setdefault(
        'KINETO_LOG_LEVEL', '6'
    )  # the profiler reports its start and stop otherwise
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'trace.json')
        profiler.export_chrome_trace(str(file))
        trace = json.loads(file.read_text())
    blocks = [event for event in trace['traceEvents'] if event.get('name') == '[memory]']
    blocks.sort(key=lambda event: event['ts'])
    # Freed blocks have a negative size, so that the sum up to an event is what is allocated at that time.
    sizes = [event['args']['Bytes'] for event in blocks]
    return max(accumulate(sizes), default=0) / 2**20


def as_table(measurements: Sequence[Measurement]) -> str:
    """Format measurements in columns under a heading; memory and device syncs only if some were measured."""
    with_syncs = any(measurement.ours_syncs is not None for measurement in measurements)
    with_memory = any(measurement.ours_peak_mib is not None for measurement in measurements)
    heading = ['row', 'case', 'ours ms', 'peer', 'peer ms', 'ratio', 'max diff']
    if with_syncs:
        heading += ['syncs', 'peer syncs']
    if with_memory:
        heading += ['MiB', 'peer MiB']
    rows = [heading]
    for m in measurements:
        row = [
            m.row,
            m.case,
            _cell(m.ours_ms, '.1f'),
            m.peer,
            _cell(m.peer_ms, '.1f'),
            _cell(m.ratio, '.2f'),
        ]
        row.append(_cell(m.max_abs_diff, '.1e'))
        if with_syncs:
            row += [_cell(m.ours_syncs, 'd'), _cell(m.peer_syncs, 'd')]
        if with_memory:
            row += [_cell(m.ours_peak_mib, '.0f'), _cell(m.peer_peak_mib, '.0f')]
        rows.append(row)
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        lines.append('  '.join(cells).rstrip())
    return '\n'.join(lines)


def _cell(number: float | None, form: str) -> str:
    return '-' if number is None else format(number, form)


def _progress(text: str) -> None:
    """Overwrite the current line of a terminal; print nothing elsewhere."""
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)
