"""Row "growth": time and memory of a training step against image area, queries and objects, and a picture of it."""
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from .models import random_batch
from .options import Options
from .timing import Case, Measurement, max_abs_diff
from .train_step import OBJECTS, DNDETRSides

SIZES = (240, 320), (360, 480), (480, 640), (600, 800), (800, 1066)
QUERIES = 100, 300, 900
OBJECT_COUNTS = 1, 8, 64
AXES = {'area': 'image area [megapixel]', 'queries': 'queries', 'objects': 'objects per image'}


def cases(options: Options) -> Iterator[Case]:
    """DN-DETR at 480x640 with 300 queries and 8 objects an image, and one of these varied at a time."""
    base, batch_size = options.size or (480, 640), options.batch_size or 2

    def case(options: Options, quantity: str, value: float, size: tuple[int, int], objects: int = OBJECTS) -> Case:
        sides = DNDETRSides(options)  # fresh weights: a step changes them
        batch = random_batch(options, size, [objects] * batch_size)
        unit = f'{size[0]}x{size[1]}' if quantity == 'area' else f'{value} {quantity}'
        return Case(f'DN-DETR R50, {batch_size} x {unit}', sides.ours(batch),
                    sides.authors(batch) or [sides.mmdets(batch)], max_abs_diff, memory=True, at=(quantity, value))

    for size in [options.size] if options.size else SIZES:
        yield case(options, 'area', size[0] * size[1] / 1e6, size)
    for queries in QUERIES:
        model = dict(options.model, num_queries=queries)
        yield case(replace(options, model=model), 'queries', queries, base)
    for objects in OBJECT_COUNTS:
        yield case(options, 'objects', objects, base, objects)


def plot_growth(measurements: Sequence[Measurement], file: Path) -> None:
    """Draws time (above) and memory (below) against each quantity that grows, ours beside the peers.

    Args:
        measurements (Sequence[Measurement]): Those with ``at`` are drawn.
        file (Path): The PNG to write; its folder is made.
    """
    measurements = [m for m in measurements if m.at is not None]
    quantities = list(dict.fromkeys(m.at[0] for m in measurements))
    peers = list(dict.fromkeys(m.peer for m in measurements))
    with matplotlib.rc_context({'font.size': 12}):
        figure = Figure(figsize=(4.4 * len(quantities), 7), layout='constrained')
        panels = figure.subplots(2, len(quantities), sharex='col', squeeze=False)
        for (upper, lower), quantity in zip(panels.T, quantities):
            grown = sorted((m for m in measurements if m.at[0] == quantity), key=lambda m: m.at[1])
            for number, name in enumerate(['ours', *peers]):
                side = [m for m in grown if m.peer == (peers[0] if name == 'ours' else name)]
                values = [m.at[1] for m in side]
                seconds = [(m.ours_ms if name == 'ours' else m.peer_ms) / 1e3 for m in side]
                gib = [(m.ours_peak_mib if name == 'ours' else m.peer_peak_mib) / 1024 for m in side]
                for panel, heights in ((upper, seconds), (lower, gib)):
                    panel.plot(values, heights, marker='o', color=f'C{number}', label=name)
            for panel in (upper, lower):
                panel.set_ylim(bottom=0)
                panel.grid(alpha=0.3)
            lower.set_xlabel(AXES[quantity])
        panels[0, 0].set_ylabel('training step [s]')
        panels[1, 0].set_ylabel('peak memory [GiB]')
        panels[0, 0].legend()
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=90)
