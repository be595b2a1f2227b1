"""Loss and mAP against iterations or minutes, from the scalars that mmengine logs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import InputError

Curve = tuple[np.ndarray, np.ndarray]
X_AXES = ('iterations', 'minutes')


def find_scalars(path: str | Path) -> Path:
    """Return the scalars file at ``path``: itself, or that of the newest run in a work_dir.

    Raises:
        InputError: There is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    # mmengine makes one folder per run, named by the time of its start, so the last one in order is the newest.
    files = sorted(file for file in path.glob('**/vis_data/scalars.json') if file.stat().st_size)
    if not files:
        raise InputError(
            f'{path}: no vis_data/scalars.json with content below it. Name the work_dir of a run that has '
            'logged something, or its scalars.json.'
        )
    return files[-1]


def read_scalars(
    path: str | Path,
    train_key: str = 'loss',
    val_key: str = 'coco/bbox_mAP',
    x_axis: str = 'iterations',
) -> tuple[Curve, Curve]:
    """Read the training and the validation curve of one run.

    Args:
        path (str | Path): A work_dir (its newest run counts) or a scalars.json.
        train_key (str): Scalar of the training log.
        val_key (str): Scalar of the validation log.
        x_axis (str): ``'iterations'``, or ``'minutes'`` that the training steps took, without validation and start.

    Returns:
        tuple[Curve, Curve]: ``(iterations or minutes, values)`` of ``train_key`` and of ``val_key``.

    Raises:
        InputError: There are no scalars, a line of the file is not a record of mmengine's, or there is no such axis.
    """
    if x_axis not in X_AXES:
        raise InputError(f'x_axis={x_axis!r} is none of {", ".join(X_AXES)}')
    file = find_scalars(path)
    train = []
    val = []
    clock = [(0.0, 0.0)]  # iteration, minutes until its end
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            record = json.loads(line)
            step = record['step']
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{file}, line {number}: not a record of mmengine's scalars.json ({error})."
            ) from error
        iteration, minutes = clock[-1]
        if train_key in record:
            train.append((step, record[train_key]))
        if val_key in record:
            # Its step counts epochs in an epoch-based run, else iterations.
            val.append((max(iteration, step), record[val_key]))
        elif 'iter' in record:
            minutes += (step - iteration) * record.get('time', 0) / 60
            clock.append((step, minutes))
    curves = [_as_curve(points) for points in (train, val)]
    if x_axis == 'minutes':
        curves = [(np.interp(steps, *_as_curve(clock)), values) for steps, values in curves]
    return curves[0], curves[1]


def plot_curves(
    runs: Mapping[str, str | Path | Sequence[str | Path]],
    out: str | Path,
    train_key: str = 'loss',
    val_key: str = 'coco/bbox_mAP',
    x_axis: str = 'iterations',
) -> None:
    """Plot the training loss over iterations or minutes and, if there was a validation, its mAP beside it.

    Args:
        runs (Mapping): Label -> work_dir or scalars.json, or several of them (seeds). Those are drawn as thin lines,
            and in bold their mean where all of them have values.
        out (str | Path): PNG file to write; its folder is created.
        train_key (str): Scalar of the left panel. In a comparison choose a term that all runs have, such as
            ``loss_bbox``: the total of a run with denoising is the sum of more terms.
        val_key (str): Scalar of the right panel.
        x_axis (str): ``'iterations'`` or ``'minutes'``, as of :func:`read_scalars`.

    Raises:
        InputError: A run has no scalars, or there is no such axis.
    """
    train_curves = {}
    val_curves = {}
    for label, paths in runs.items():
        paths = [paths] if isinstance(paths, (str, Path)) else paths
        pairs = [read_scalars(path, train_key, val_key, x_axis) for path in paths]
        train_curves[label] = [train for train, _ in pairs]
        val_curves[label] = [val for _, val in pairs if len(val[0])]
    is_validated = any(val_curves.values())
    with matplotlib.rc_context({'font.size': 13}):
        # no pyplot: draws to a file, needs no display
        figure = Figure(figsize=(13 if is_validated else 7, 5), layout='constrained')
        panels = figure.subplots(1, 2 if is_validated else 1, squeeze=False)[0]
        _draw_panel(panels[0], train_curves, f'training: {train_key}', x_axis)
        if is_validated:
            _draw_panel(panels[1], val_curves, f'validation: {val_key}', x_axis)
            panels[1].set_ylim(bottom=0)
        _save(figure, out, dpi=110)


def plot_validations(
    comparisons: Mapping[str, Mapping[str, Sequence[str | Path]]],
    out: str | Path,
    val_key: str = 'coco/bbox_mAP',
) -> None:
    """Plot several comparisons side by side, each the validation curves of its runs.

    Args:
        comparisons (Mapping): Title of a panel -> label -> work_dirs or scalars.json, as of :func:`plot_curves`.
        out (str | Path): PNG file to write; its folder is created.
        val_key (str): Scalar to plot.

    Raises:
        InputError: A run has no scalars.
    """
    with matplotlib.rc_context({'font.size': 13}):
        figure = Figure(figsize=(5 * len(comparisons), 4.5), layout='constrained')
        panels = figure.subplots(1, len(comparisons), squeeze=False)[0]
        for panel, (title, runs) in zip(panels, comparisons.items()):
            curves = {
                label: [read_scalars(path, val_key=val_key)[1] for path in paths]
                for label, paths in runs.items()
            }
            _draw_panel(panel, curves, title)
            panel.set_ylim(bottom=0)
            panel.set_ylabel(val_key)
        _save(figure, out, dpi=80)


def _as_curve(points: list[tuple[float, float]]) -> Curve:
    steps, values = np.array(points, float).reshape(-1, 2).T
    return steps, values


def _draw_panel(
    panel: Axes, curves: Mapping[str, Sequence[Curve]], title: str, x_axis: str = 'iterations'
) -> None:
    for number, (label, seeds) in enumerate(curves.items()):
        _draw(panel, seeds, label, colour=f'C{number}')
    panel.set(title=title, xlabel=x_axis)
    panel.grid(alpha=0.3)


def _save(figure: Figure, out: str | Path, dpi: int) -> None:
    """Write a figure, the curves of all panels named once below them, where none is covered."""
    handles = {}
    for panel in figure.axes:
        handles.update((label, line) for line, label in zip(*panel.get_legend_handles_labels()))
    for columns in (3, 2, 1) if handles else ():  # as many as fit
        legend = figure.legend(
            handles.values(), handles.keys(), loc='outside lower center', ncols=columns
        )
        if columns == 1 or legend.get_window_extent().width < figure.bbox.width:
            break
        legend.remove()
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=dpi)


def _draw(panel: Axes, curves: Sequence[Curve], label: str, colour: str) -> None:
    """Draw the curves of one label, and their mean if there are several."""
    curves = [curve for curve in curves if len(curve[0])]
    if len(curves) == 1:
        panel.plot(*curves[0], color=colour, linewidth=2.2, marker='.', label=label)
    elif curves:
        for curve in curves:
            panel.plot(*curve, color=colour, linewidth=0.8, alpha=0.5)
        steps, mean = _mean(curves)
        panel.plot(
            steps, mean, color=colour, linewidth=2.8, label=f'{label} (mean of {len(curves)})'
        )


def _mean(curves: Sequence[Curve]) -> Curve:
    """Average curves where all of them have values."""
    first = max(steps[0] for steps, _ in curves)
    last = min(steps[-1] for steps, _ in curves)
    steps = np.unique(np.concatenate([steps for steps, _ in curves]))
    steps = steps[(steps >= first) & (steps <= last)]
    values = [np.interp(steps, *curve) for curve in curves]
    return steps, np.mean(values, axis=0)
