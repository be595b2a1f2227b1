"""Drawing which predictions each ground truth of an image gets: one panel per assigner, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

# Far from each other and from a pale image.
COLOURS = (
    '#d7191c',
    '#1f6fd6',
    '#1a9641',
    '#e87b00',
    '#8a2be2',
    '#00a0b0',
    '#d81b9a',
    '#7a4a1e',
    '#9a9a00',
    '#20206e',
)
GREY = '#555555'
DASHED = (0, (3, 2))
DPI = 150
FONT = 9  # points
POINTS_PER_INCH = 72
# Inches. A panel's longer side is between the two values of PANEL, its width at least MIN_WIDTH.
PANEL = (3.3, 5.0)
MIN_WIDTH = 2.5
GAP = 0.12
MARGIN = 0.1
TITLE = 0.3
HEADING = 0.24
ROW = 0.2
FOOTER = 0.3


class AssignerResult(NamedTuple):
    """Which ground truth one assigner assigns to each of N predictions.

    Attributes:
        name (str): Title of the assigner.
        gt_index (ndarray): Index of each prediction's ground truth, -1 for none, (N, ).
        costs (ndarray): Cost of each prediction for its ground truth, 0 without one, (N, ).
    """

    name: str
    gt_index: np.ndarray
    costs: np.ndarray

    def of_gt(self, index: int) -> tuple[np.ndarray, float]:
        """Return the indices of one ground truth's predictions and their mean cost (NaN if there are none)."""
        preds = np.flatnonzero(self.gt_index == index)
        mean_cost = self.costs[preds].mean() if len(preds) else np.nan
        return preds, float(mean_cost)


class _Layout:
    """Sizes and places on the sheet, in inches.

    From top to bottom::

        TITLE             one line across the sheet
        HEADING + height  the panels, GAP apart, each with its assigner's name above
        rows * ROW        below each panel k and cost of the ground truths, in two columns
        FOOTER            legend and note

    Args:
        size (tuple[int, int]): Width and height of the image in pixels.
        num_panels (int): Number of assigners.
        num_gts (int): Number of ground truths.
    """

    def __init__(self, size: tuple[int, int], num_panels: int, num_gts: int) -> None:
        width, height = size
        longer_side = np.clip(max(size) / DPI, *PANEL)
        self.inches_per_pixel = longer_side / max(size)
        self.panel_width = max(width * self.inches_per_pixel, MIN_WIDTH)
        self.panel_height = height * self.inches_per_pixel
        self.rows = -(-num_gts // 2)
        self.panel_bottom = FOOTER + self.rows * ROW + GAP / 2
        self.width = 2 * MARGIN + num_panels * self.panel_width + (num_panels - 1) * GAP
        self.height = self.panel_bottom + self.panel_height + HEADING + TITLE

    def panel(self, number: int) -> tuple[float, float, float, float]:
        """Return left, bottom, width and height of a panel, as shares of the sheet."""
        return self._share(
            self._left(number), self.panel_bottom, self.panel_width, self.panel_height
        )

    def table(self, number: int) -> tuple[float, float, float, float]:
        """Return the place of the table below a panel."""
        return self._share(self._left(number), FOOTER, self.panel_width, self.rows * ROW)

    def footer(self) -> tuple[float, float, float, float]:
        """Return the place of the footer."""
        return self._share(MARGIN, 0, self.width - 2 * MARGIN, FOOTER)

    def title(self) -> tuple[float, float]:
        """Return the place of the title's left end."""
        return MARGIN / self.width, 1 - 0.5 * TITLE / self.height

    def _left(self, number: int) -> float:
        return MARGIN + number * (self.panel_width + GAP)

    def _share(
        self, left: float, bottom: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        return left / self.width, bottom / self.height, width / self.width, height / self.height


def draw_assignments(
    image: np.ndarray,
    bboxes: np.ndarray,
    points: np.ndarray,
    results: Sequence[AssignerResult],
    out: str | Path,
    strides: np.ndarray | None = None,
    pred_bboxes: np.ndarray | None = None,
    title: str = '',
    note: str = '',
) -> None:
    """Draw the image once per assigner, each ground truth and its predictions in the same colour.

    Below each panel there is, for each ground truth by its number in the image, how many predictions it gets and their
    mean cost.

    Args:
        image (ndarray): uint8 RGB, (h, w, 3); it is drawn pale, so that the colours stand out.
        bboxes (ndarray): Boxes of the ground truths (x1, y1, x2, y2) in pixels, (G, 4).
        points (ndarray): Centres of the predictions in pixels, (N, 2).
        results (Sequence[AssignerResult]): One per panel.
        out (str | Path): PNG file to write; its folder is created.
        strides (ndarray, optional): Stride of each prediction's level, (N, ): the larger, the larger its dot.
        pred_bboxes (ndarray, optional): Boxes of the predictions, (N, 4), drawn dashed where assigned.
        title (str): Title of the sheet.
        note (str): Small text at the bottom.

    Raises:
        ValueError: No assigner, or no ground truth.
    """
    if not len(results) or not len(bboxes):
        raise ValueError(
            f'{len(results)} assigners and {len(bboxes)} objects: there is nothing to draw.'
        )
    height, width = image.shape[:2]
    layout = _Layout((width, height), len(results), len(bboxes))
    diameters = _diameters(strides, layout.inches_per_pixel, len(points))
    is_assigned = np.any([result.gt_index >= 0 for result in results], 0)
    pixels_per_point = 1 / (POINTS_PER_INCH * layout.inches_per_pixel)
    badges = _badge_centres(bboxes, points[is_assigned], (width, height), pixels_per_point)
    with matplotlib.rc_context({'font.size': FONT, 'font.family': 'DejaVu Sans'}):
        # no pyplot: draws to a file, needs no display
        figure = Figure(figsize=(layout.width, layout.height), dpi=DPI)
        figure.text(*layout.title(), title, fontsize=FONT + 2, va='center')
        for number, result in enumerate(results):
            panel = figure.add_axes(layout.panel(number))
            _draw_image(panel, image)
            _draw_heading(panel, result)
            _draw_boxes(panel, bboxes, pred_bboxes, result)
            _draw_dots(panel, points, diameters, result)
            for index, centre in enumerate(badges):
                panel.text(*centre, str(index + 1), **_badge_style(index), zorder=6)
            _draw_table(figure.add_axes(layout.table(number)), result, len(bboxes), layout.rows)
        _draw_footer(figure.add_axes(layout.footer()), strides, diameters, note)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out)


def colour_of(index: int) -> str:
    """Return the colour of a ground truth; after ten they repeat."""
    return COLOURS[index % len(COLOURS)]


def _diameters(strides: np.ndarray | None, inches_per_pixel: float, num_points: int) -> np.ndarray:
    """Return the diameters of the dots in points, (N, ): those of a level are 1.5 times those of the level before."""
    if strides is None:
        return np.full(num_points, 7.0)
    # Dots of the first level fit side by side.
    spacing = POINTS_PER_INCH * inches_per_pixel * strides.min()
    smallest = np.clip(0.45 * spacing, 2.5, 5)
    level = np.log2(strides / strides.min())
    return np.minimum(smallest * 1.5**level, 20)


def _badge_centres(
    bboxes: np.ndarray, points: np.ndarray, size: tuple[int, int], pixels_per_point: float
) -> np.ndarray:
    """Place the number of each ground truth at a corner of its box, off other numbers and off the dots, (G, 2).

    The candidates in order of preference, a and b above the box, c and d below it, e and f inside::

        a          b
        +----------+
        |e        f|
        +----------+
        c          d
    """
    half = np.array([8, 7]) * pixels_per_point
    half_width, half_height = half
    centres = []
    for left, top, right, bottom in bboxes:
        columns = (left + half_width, right - half_width)
        rows = (top - half_height, bottom + half_height, top + half_height)
        candidates = np.array([(x, y) for y in rows for x in columns])
        candidates = np.clip(candidates, half, np.array(size) - half)
        others = np.array(centres).reshape(-1, 2)
        to_others = np.abs(candidates[:, None] - others)
        num_overlaps = (to_others < 2 * half).all(-1).sum(1)
        to_points = np.abs(candidates[:, None] - points)
        num_covered = (to_points < half + 3 * pixels_per_point).all(-1).sum(1)
        best = np.argmin(100 * num_overlaps + num_covered)
        centres.append(candidates[best])
    return np.array(centres)


def _draw_image(panel: Axes, image: np.ndarray) -> None:
    """Draw the image pale and nearly grey."""
    height, width = image.shape[:2]
    grey = image.mean(-1, keepdims=True)
    muted = grey + 0.4 * (image - grey)
    pale = 255 - 0.5 * (255 - muted)
    panel.imshow(
        pale.clip(0, 255).astype(np.uint8), extent=(0, width, height, 0), interpolation='bicubic'
    )
    panel.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])


def _draw_heading(panel: Axes, result: AssignerResult) -> None:
    """Write name, number of assigned predictions and mean cost above a panel."""
    is_assigned = result.gt_index >= 0
    text = 'none assigned'
    if is_assigned.any():
        text = f'{is_assigned.sum()} assigned, mean cost {result.costs[is_assigned].mean():.2f}'
    panel.set_title(f'{result.name}: {text}', fontsize=FONT + 1, pad=4)


def _draw_boxes(
    panel: Axes, bboxes: np.ndarray, pred_bboxes: np.ndarray | None, result: AssignerResult
) -> None:
    """Draw the ground truths' boxes and, dashed, those of their predictions."""
    size = (panel.get_xlim()[1], panel.get_ylim()[0])
    halo = [withStroke(linewidth=3.2, foreground='white')]
    for index, bbox in enumerate(bboxes):
        colour = colour_of(index)
        panel.add_patch(_rectangle(bbox, size, color=colour, linewidth=1.7, path_effects=halo))
        if pred_bboxes is None:
            continue
        preds, _ = result.of_gt(index)
        for pred_bbox in pred_bboxes[preds]:
            panel.add_patch(
                _rectangle(pred_bbox, size, color=colour, linewidth=1.2, linestyle=DASHED)
            )


def _draw_dots(
    panel: Axes, points: np.ndarray, diameters: np.ndarray, result: AssignerResult
) -> None:
    """Draw a dot at the centre of each assigned prediction."""
    by_gt = np.argsort(result.gt_index, kind='stable')
    for pred in by_gt[result.gt_index[by_gt] >= 0]:
        diameter = diameters[pred]
        panel.plot(
            *points[pred],
            marker='o',
            linestyle='none',
            color=colour_of(result.gt_index[pred]),
            markersize=diameter,
            markeredgecolor='white',
            markeredgewidth=0.7,
            zorder=5 - 0.1 * diameter,  # small ones in front of large ones
            clip_on=False,
        )


def _rectangle(bbox: np.ndarray, size: tuple[float, float], **style) -> Rectangle:
    """Return a box clipped to the image, so that its border is visible there, too."""
    low, high = np.clip(bbox.reshape(2, 2), 0, size)
    return Rectangle(low, *(high - low), fill=False, **style)


def _badge_style(index: int) -> dict:
    """Return the style of a ground truth's number: white in a box of its colour."""
    box = dict(
        boxstyle='round,pad=0.18', facecolor=colour_of(index), edgecolor='white', linewidth=0.7
    )
    return dict(
        color='white', fontsize=FONT - 1, fontweight='bold', ha='center', va='center', bbox=box
    )


def _draw_table(table: Axes, result: AssignerResult, num_gts: int, rows: int) -> None:
    """Write number, k and cost of each ground truth in two columns."""
    table.set(xlim=(0, 2), ylim=(rows, 0))
    table.axis('off')
    for index in range(num_gts):
        column, row = divmod(index, rows)
        preds, cost = result.of_gt(index)
        text = f'k={len(preds)}, cost {cost:.2f}' if len(preds) else 'k=0'
        table.text(column + 0.07, row + 0.5, str(index + 1), **_badge_style(index))
        table.text(column + 0.17, row + 0.5, text, va='center')


def _draw_footer(
    footer: Axes, strides: np.ndarray | None, diameters: np.ndarray, note: str
) -> None:
    """Draw the legend and the note."""
    footer.axis('off')
    entries = _query_legend() if strides is None else _stride_legend(strides, diameters)
    footer.legend(
        handles=entries,
        loc='center left',
        bbox_to_anchor=(0, 0.5),
        ncol=len(entries),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handletextpad=0.4,
        columnspacing=1.2,
    )
    footer.text(1, 0.5, note, ha='right', va='center', color=GREY, transform=footer.transAxes)


def _stride_legend(strides: np.ndarray, diameters: np.ndarray) -> list[Line2D]:
    """Return the sizes of the dots."""
    values, first = np.unique(strides, return_index=True)
    entries = []
    for stride, diameter in zip(values, diameters[first]):
        style = dict(
            marker='o', linestyle='', color=GREY, markeredgecolor='white', markersize=diameter
        )
        entries.append(Line2D([], [], label=f'stride {stride:g}', **style))
    return entries


def _query_legend() -> list[Line2D]:
    """Return the two kinds of boxes."""
    dashed = dict(linewidth=1.2, linestyle=DASHED, marker='o', markersize=7)
    return [
        Line2D([], [], color=GREY, linewidth=1.7, label='object'),
        Line2D([], [], color=GREY, label='predicted by its query', **dashed),
    ]
