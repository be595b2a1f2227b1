"""What a COCO evaluation says of each class: a table, precision-recall curves, and which classes are confused."""

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SCORE = 0.3  # least score of a result that counts as confused
IOU = 0.5
MOST_CURVES = 10  # of single classes that are named
MOST_CELLS = 20  # classes up to which the cells of the matrix have numbers
COLUMNS = ('class', 'objects', 'AP', 'AP50', 'AP75', 'AP_s', 'AP_m', 'AP_l', 'AR')
ALL, SMALL, MEDIUM, LARGE = range(4)  # areas in COCO's arrays


def write_report(evaluation: COCOeval, folder: Path) -> None:
    """Write ``KIND_classes.csv``, ``KIND_precision_recall.png`` and ``KIND_confusion.png``; KIND is 'bbox' or 'segm'.

    Args:
        evaluation (COCOeval): It is done: ``evaluate`` and ``accumulate`` were called.
        folder (Path): Made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind = evaluation.params.iouType
    rows = class_table(evaluation)
    with (folder / f'{kind}_classes.csv').open('w', newline='') as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    plot_curves(evaluation, folder / f'{kind}_precision_recall.png')
    names = [row['class'] for row in rows]
    plot_confusion(confusion(evaluation), names, folder / f'{kind}_confusion.png')


def class_table(evaluation: COCOeval) -> list[dict]:
    """Return a row for each class; AP and AR in [0, 1], empty where the class has no such objects.

    As in mmdet's table all results of an image count, where COCO's mAP counts the best 100.
    """
    precision = evaluation.eval['precision'][..., -1]  # IoU, recall, class, area
    recall = evaluation.eval['recall'][..., -1]
    iou_thrs = evaluation.params.iouThrs
    notes = evaluation.cocoGt.dataset['annotations']
    objects = Counter(note['category_id'] for note in notes if not note.get('iscrowd'))
    rows = []
    for index, id_ in enumerate(evaluation.params.catIds):
        of_class = precision[:, :, index]
        figures = [
            of_class[..., ALL],
            of_class[np.isclose(iou_thrs, 0.5), :, ALL],
            of_class[np.isclose(iou_thrs, 0.75), :, ALL],
            *(of_class[..., area] for area in (SMALL, MEDIUM, LARGE)),
            recall[:, index, ALL],
        ]
        cells = [evaluation.cocoGt.cats[id_]['name'], objects[id_], *map(_mean, figures)]
        rows.append(dict(zip(COLUMNS, cells)))
    return rows


def _mean(values: np.ndarray) -> float | str:
    """Mean of what was measured, which COCO's arrays mark by -1 where there is nothing."""
    measured = values[values > -1]
    return round(float(measured.mean()), 4) if measured.size else ''


def confusion(evaluation: COCOeval, score: float = SCORE, iou: float = IOU) -> np.ndarray:
    """Count which class is taken for which.

    Results and gts are matched as COCO does it, best score first, but whatever their classes are.

    Args:
        evaluation (COCOeval): Its gts, results, images and classes count.
        score (float): Least score of a result.
        iou (float): Least IoU of a match.

    Returns:
        np.ndarray: Numbers of objects (K + 1, K + 1): the row is the class of the gt, the last row no gt; the column
        is the class of the result, the last column no result.
    """
    ids = {id_: index for index, id_ in enumerate(evaluation.params.catIds)}
    nothing = len(ids)
    gts = _chosen(evaluation.cocoGt, lambda note: note['category_id'] in ids)
    results = _chosen(
        evaluation.cocoDt, lambda note: note['category_id'] in ids and note['score'] >= score
    )
    matching = _match(gts, results, evaluation.params, iou)
    counts = np.zeros((nothing + 1, nothing + 1), int)

    def label(coco: COCO, id_: int) -> int:
        return ids[coco.anns[id_]['category_id']] if id_ else nothing

    for image in filter(None, matching.evalImgs):
        matches = zip(image['dtIds'], image['dtMatches'][0], image['dtIgnore'][0])
        for result, gt, is_ignored in matches:
            if not is_ignored:
                counts[label(gts, int(gt)), label(results, result)] += 1
        for gt, match, is_ignored in zip(image['gtIds'], image['gtMatches'][0], image['gtIgnore']):
            if not match and not is_ignored:
                counts[label(gts, gt), nothing] += 1
    return counts


def _chosen(coco: COCO, is_chosen) -> COCO:
    chosen = COCO()
    notes = [dict(note) for note in coco.dataset['annotations'] if is_chosen(note)]
    chosen.dataset = dict(coco.dataset, annotations=notes)
    with contextlib.redirect_stdout(io.StringIO()):
        chosen.createIndex()
    return chosen


def _match(gts: COCO, results: COCO, like, iou: float) -> COCOeval:
    """Match regardless of classes, at one IoU, objects of all sizes."""
    matching = COCOeval(gts, results, like.iouType)
    matching.params.imgIds = like.imgIds
    matching.params.maxDets = like.maxDets
    matching.params.iouThrs = np.array([iou])
    matching.params.useCats = 0
    matching.params.areaRng = matching.params.areaRng[:1]
    matching.params.areaRngLbl = matching.params.areaRngLbl[:1]
    with contextlib.redirect_stdout(io.StringIO()):
        matching.evaluate()
    return matching


def plot_confusion(counts: np.ndarray, classes: Sequence[str], file: Path) -> None:
    """Draw a matrix of :func:`confusion`, each row as shares of its sum."""
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    side = 4 + 0.22 * len(counts)
    figure = Figure(figsize=(side + 1, side), layout='constrained')
    axes = figure.subplots()
    # Rare confusions are to be seen as well.
    picture = axes.imshow(shares, cmap='Blues', norm=PowerNorm(0.5, 0, 1))
    axes.set_xticks(range(len(counts)), [*classes, 'missed'], rotation=90)
    axes.set_yticks(range(len(counts)), [*classes, 'no object'])
    axes.set_xlabel(f'result above {SCORE:g}')
    axes.set_ylabel(f'object, IoU above {IOU:g}')
    figure.colorbar(picture, label='share of the row', shrink=0.6, pad=0.02)
    if len(classes) <= MOST_CELLS:
        for (row, column), count in np.ndenumerate(counts):
            colour = 'white' if shares[row, column] > 0.25 else 'black'
            if count:
                axes.text(column, row, count, ha='center', va='center', color=colour, fontsize=8)
    figure.savefig(file, dpi=110, bbox_inches='tight')


def plot_curves(evaluation: COCOeval, file: Path) -> None:
    """Draw precision against recall: the mean of the classes at several IoU, and single classes at the lowest.

    Of many classes the best and the worst are named.
    """
    precision = evaluation.eval['precision'][:, :, :, ALL, -1]
    has_objects = (precision > -1).any((0, 1))
    recall, iou_thrs = evaluation.params.recThrs, evaluation.params.iouThrs
    figure = Figure(figsize=(13, 5.5), layout='constrained')
    left, right = figure.subplots(1, 2, sharey=True)
    for index in range(0, len(iou_thrs), 2):
        curve = precision[index][:, has_objects].mean(1) if has_objects.any() else 0 * recall
        colour = colormaps['viridis'](index / len(iou_thrs))
        label = f'IoU {iou_thrs[index]:.2f}: AP {curve.mean():.3f}'
        left.plot(recall, curve, color=colour, label=label)
    _finish(left, 'mean of the classes')
    names = [evaluation.cocoGt.cats[id_]['name'] for id_ in evaluation.params.catIds]
    curves = {names[index]: precision[0, :, index] for index in np.flatnonzero(has_objects)}
    _draw_classes(right, recall, curves)
    _finish(right, f'classes at IoU {iou_thrs[0]:.2f}')
    left.set_ylabel('precision')
    figure.savefig(file, dpi=110)


def _draw_classes(axes: Axes, recall: np.ndarray, curves: dict[str, np.ndarray]) -> None:
    best_first = sorted(curves, key=lambda name: -curves[name].mean())
    named = best_first
    if len(best_first) > MOST_CURVES:
        half = MOST_CURVES // 2
        named = best_first[:half] + best_first[-half:]
        for name in best_first[half:-half]:
            axes.plot(recall, curves[name], color='0.85', linewidth=0.8)
    for name in named:
        axes.plot(recall, curves[name], label=f'{name}: AP {curves[name].mean():.3f}')


def _finish(axes: Axes, title: str) -> None:
    axes.set(title=title, xlabel='recall', xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
