"""Loss and mAP against iterations, from the scalars that mmengine logs."""
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Curve = tuple[np.ndarray, np.ndarray]


def find_scalars(path: str | Path) -> Path:
    """The scalars file that ``path`` means: itself, or that of the newest run in a work_dir.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    # mmengine makes a folder a run, named by the time it started: the last in order is the newest.
    found = sorted(file for file in path.glob('**/vis_data/scalars.json') if file.stat().st_size)
    if not found:
        raise FileNotFoundError(f'{path}: no vis_data/scalars.json with content below it. Name the work_dir of a run '
                                'that has logged something, or its scalars.json.')
    return found[-1]


def read_scalars(path: str | Path, train_key: str = 'loss', val_key: str = 'coco/bbox_mAP') -> tuple[Curve, Curve]:
    """Two curves, ``(iterations, values)`` each, of one run: ``train_key`` while training, ``val_key`` in validation.

    Args:
        path (str | Path): A work_dir (its newest run counts) or a scalars.json.
        train_key (str): Scalar of the training log.
        val_key (str): Scalar of the validation log.

    Raises:
        FileNotFoundError: There are no scalars.
        ValueError: The file is not one of mmengine's scalars files; the line is named.
    """
    file, train, val, iteration = find_scalars(path), [], [], 0
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            record = json.loads(line)
            step = record['step']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}, line {number}: not a record of mmengine's scalars.json ({error}).") from error
        if train_key in record:
            train.append((step, record[train_key]))
        if val_key in record:
            # Its step counts epochs in an epoch-based run and iterations in another.
            val.append((max(iteration, step), record[val_key]))
        elif 'iter' in record:
            iteration = step
    return _as_curve(train), _as_curve(val)


def plot_curves(runs: Mapping[str, str | Path | Sequence[str | Path]], out: str | Path, train_key: str = 'loss',
                val_key: str = 'coco/bbox_mAP') -> None:
    """Draw against iterations: the training loss and, beside it, the mAP of validation if there is any.

    Args:
        runs (Mapping): A label, and its work_dir or scalars.json, or several of them (seeds): those are drawn as thin
            lines, and their mean, as far as all of them reach, bold.
        out (str | Path): PNG file to write; its folder is made.
        train_key (str): Scalar of the left panel. In a comparison choose a term that all runs have, such as
            ``loss_bbox``: the total of a run with denoising sums up more terms.
        val_key (str): Scalar of the right panel.

    Raises:
        FileNotFoundError: A run has no scalars.
    """
    curves = {}
    for label, paths in runs.items():
        paths = [paths] if isinstance(paths, (str, Path)) else paths
        curves[label] = list(zip(*(read_scalars(path, train_key, val_key) for path in paths), strict=True))
    titles = [f'training: {train_key}', f'validation: {val_key}']
    is_validated = any(len(steps) for _, val in curves.values() for steps, _ in val)
    with matplotlib.rc_context({'font.size': 13}):
        # no pyplot: draws to a file, needs no display
        figure = Figure(figsize=(13 if is_validated else 7, 5), layout='constrained')
        panels = figure.subplots(1, 1 + is_validated, squeeze=False)[0]
        for number, (label, pair) in enumerate(curves.items()):
            for panel, curve in zip(panels, pair):
                _draw(panel, curve, label, f'C{number}')
        for panel, title in zip(panels, titles):
            panel.set(title=title, xlabel='iterations')
            panel.grid(alpha=0.3)
            if panel.get_legend_handles_labels()[0]:
                panel.legend()
        if is_validated:
            panels[1].set_ylim(bottom=0)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=110)


def _as_curve(points: list[tuple[float, float]]) -> Curve:
    steps, values = np.array(points, float).reshape(-1, 2).T
    return steps, values


def _draw(panel: Axes, curves: Sequence[Curve], label: str, colour: str) -> None:
    curves = [curve for curve in curves if len(curve[0])]
    if len(curves) == 1:
        panel.plot(*curves[0], color=colour, linewidth=2.2, marker='.', label=label)
    elif curves:
        for curve in curves:
            panel.plot(*curve, color=colour, linewidth=0.8, alpha=0.5)
        steps = np.unique(np.concatenate([steps for steps, _ in curves]))
        steps = steps[(steps >= max(s[0] for s, _ in curves)) & (steps <= min(s[-1] for s, _ in curves))]
        mean = np.mean([np.interp(steps, *curve) for curve in curves], axis=0)
        panel.plot(steps, mean, color=colour, linewidth=2.8, label=f'{label} (mean of {len(curves)})')
