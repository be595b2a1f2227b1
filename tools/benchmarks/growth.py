"""Row "growth": time and memory of a training step against image area, queries and ground truths, and their plot."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .models import random_batch
from .options import Options
from .timing import Case, Measurement, max_abs_diff
from .train_step import NUM_GTS, DNDETRSides

SIZES = ((240, 320), (360, 480), (480, 640), (600, 800), (800, 1066))
QUERIES = (100, 300, 900)
GT_COUNTS = (1, 8, 64)
AXES = {'area': 'image area [megapixel]', 'queries': 'queries', 'objects': 'objects per image'}


def cases(options: Options) -> Iterator[Case]:
    """Yield DN-DETR at 480x640 with 300 queries and 8 objects per image, varying one of these at a time."""
    base_size = options.size or (480, 640)
    for height, width in [options.size] if options.size else SIZES:
        yield _case(options, 'area', height * width / 1e6, (height, width))
    for queries in QUERIES:
        model = dict(options.model, num_queries=queries)
        yield _case(replace(options, model=model), 'queries', queries, base_size)
    for count in GT_COUNTS:
        yield _case(options, 'objects', count, base_size, num_gts=count)


def _case(
    options: Options, quantity: str, value: float, size: tuple[int, int], num_gts: int = NUM_GTS
) -> Case:
    """Return one training step, in which ``quantity`` has a ``value``."""
    batch_size = options.batch_size or 2
    sides = DNDETRSides(options)  # new weights: a step changes them
    batch = random_batch(options, size, [num_gts] * batch_size)
    setting = f'{size[0]}x{size[1]}' if quantity == 'area' else f'{value} {quantity}'
    return Case(
        f'DN-DETR R50, {batch_size} x {setting}',
        ours=sides.ours(batch),
        peers=sides.authors(batch) or [sides.mmdets(batch)],
        compare=max_abs_diff,
        memory=True,
        at=(quantity, value),
    )


def plot_growth(measurements: Sequence[Measurement], file: Path) -> None:
    """Plot time (top) and memory (bottom) against each quantity that grows, ours beside the peers.

    Args:
        measurements (Sequence[Measurement]): Those with ``at`` are drawn.
        file (Path): The PNG to write; its folder is created.
    """
    measurements = [measurement for measurement in measurements if measurement.at is not None]
    quantities = list(dict.fromkeys(measurement.at[0] for measurement in measurements))
    with matplotlib.rc_context({'font.size': 12}):
        figure = Figure(figsize=(4.4 * len(quantities), 7), layout='constrained')
        panels = figure.subplots(2, len(quantities), sharex='col', squeeze=False)
        for column, quantity in zip(panels.T, quantities):
            grown = [measurement for measurement in measurements if measurement.at[0] == quantity]
            _plot_quantity(*column, sorted(grown, key=lambda measurement: measurement.at[1]))
            column[1].set_xlabel(AXES[quantity])
        panels[0, 0].set_ylabel('training step [s]')
        panels[1, 0].set_ylabel('peak memory [GiB]')
        panels[0, 0].legend()
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=90)


def _plot_quantity(
    time_panel: Axes, memory_panel: Axes, measurements: Sequence[Measurement]
) -> None:
    """Plot ours, then each peer, over the values of one quantity."""
    peers = list(dict.fromkeys(measurement.peer for measurement in measurements))
    # Each measurement repeats our numbers, so those beside the first peer are sufficient.
    first = [measurement for measurement in measurements if measurement.peer == peers[0]]
    values = [measurement.at[1] for measurement in first]
    time_panel.plot(values, [m.ours_ms / 1e3 for m in first], marker='o', color='C0', label='ours')
    memory_panel.plot(
        values, [m.ours_peak_mib / 1024 for m in first], marker='o', color='C0', label='ours'
    )
    for number, peer in enumerate(peers, 1):
        side = [measurement for measurement in measurements if measurement.peer == peer]
        values = [measurement.at[1] for measurement in side]
        style = dict(marker='o', color=f'C{number}', label=peer)
        time_panel.plot(values, [m.peer_ms / 1e3 for m in side], **style)
        memory_panel.plot(values, [m.peer_peak_mib / 1024 for m in side], **style)
    for panel in (time_panel, memory_panel):
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
