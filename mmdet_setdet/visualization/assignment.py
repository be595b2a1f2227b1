"""Which predictions each object of an image gets: one panel an assigner, side by side."""
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
COLOURS = ('#d7191c', '#1f6fd6', '#1a9641', '#e87b00', '#8a2be2', '#00a0b0', '#d81b9a', '#7a4a1e', '#9a9a00', '#20206e')
DPI = 150
PANEL = (3.3, 5.0)  # least and greatest length of a panel's longer side, inches
GAP, MARGIN, TITLE, HEADING, ROW, FOOTER = 0.12, 0.1, 0.3, 0.24, 0.2, 0.3  # inches
FONT = 9  # points


class Assigned(NamedTuple):
    """What one assigner gives the G objects of an image.

    Attributes:
        name (str): Of the assigner, as it is written.
        owners (ndarray): Index of the object that each prediction answers for, -1 for none, (N, ).
        costs (ndarray): Cost of each prediction for its object, 0 without one, (N, ).
    """
    name: str
    owners: np.ndarray
    costs: np.ndarray

    def share(self, index: int) -> tuple[np.ndarray, float]:
        """The predictions of one object, as indices, and their mean cost (NaN if there are none)."""
        own = np.flatnonzero(self.owners == index)
        return own, float(self.costs[own].mean()) if len(own) else float('nan')


def draw_assignments(image: np.ndarray, bboxes: np.ndarray, points: np.ndarray, assigned: Sequence[Assigned],
                     out: str | Path, strides: np.ndarray | None = None, pred_bboxes: np.ndarray | None = None,
                     title: str = '', note: str = '') -> None:
    """Draw one sheet: the image once for each assigner, objects and what they get in the object's colour.

    Below each panel stands for each object, by its number in the image, how many predictions it gets and their mean
    cost.

    Args:
        image (ndarray): uint8 RGB, (h, w, 3); it is drawn pale, so that the objects' colours stand out.
        bboxes (ndarray): Boxes of the objects, x1, y1, x2, y2 in pixels, (G, 4).
        points (ndarray): Where the predictions stand, x and y in pixels, (N, 2).
        assigned (Sequence[Assigned]): One for each panel.
        out (str | Path): PNG file to write; its folder is made.
        strides (ndarray, optional): Of the predictions' levels, (N, ): the larger, the larger the dot.
        pred_bboxes (ndarray, optional): Boxes of the predictions, (N, 4), drawn dashed where assigned.
        title (str): Of the sheet.
        note (str): What is small at the bottom.

    Raises:
        ValueError: No assigner, or no object.
    """
    if not len(assigned) or not len(bboxes):
        raise ValueError(f'{len(assigned)} assigners and {len(bboxes)} objects: there is nothing to draw.')
    height, width = image.shape[:2]
    longer = np.clip(max(height, width) / DPI, *PANEL)
    scale = longer / max(height, width)  # inches a pixel
    panel_width, panel_height = max(width * scale, 2.5), height * scale
    rows = -(-len(bboxes) // 2)
    sheet_width = 2 * MARGIN + len(assigned) * panel_width + (len(assigned) - 1) * GAP
    bottom = FOOTER + rows * ROW + GAP / 2
    sheet_height = bottom + panel_height + HEADING + TITLE
    diameters = _diameters(strides, scale)
    used = np.flatnonzero(np.any([each.owners >= 0 for each in assigned], 0))
    badges = _badges(bboxes, points[used], (width, height), 1 / (72 * scale))
    with matplotlib.rc_context({'font.size': FONT, 'font.family': 'DejaVu Sans'}):
        # no pyplot: draws to a file, needs no display
        figure = Figure(figsize=(sheet_width, sheet_height), dpi=DPI)
        figure.text(MARGIN / sheet_width, 1 - 0.5 * TITLE / sheet_height, title, fontsize=FONT + 2, va='center')
        for number, each in enumerate(assigned):
            left = MARGIN + number * (panel_width + GAP)
            panel = figure.add_axes((left / sheet_width, bottom / sheet_height, panel_width / sheet_width,
                                     panel_height / sheet_height))
            _draw_panel(panel, image, bboxes, points, each, diameters, pred_bboxes, badges)
            table = figure.add_axes((left / sheet_width, FOOTER / sheet_height, panel_width / sheet_width,
                                     rows * ROW / sheet_height))
            _draw_table(table, each, len(bboxes), rows)
        footer = figure.add_axes((MARGIN / sheet_width, 0, 1 - 2 * MARGIN / sheet_width, FOOTER / sheet_height))
        _draw_footer(footer, strides, diameters, note)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out)


def colour_of(index: int) -> str:
    """The colour of an object; after ten they repeat."""
    return COLOURS[index % len(COLOURS)]


def _diameters(strides: np.ndarray | None, scale: float) -> np.ndarray | float:
    """Of the predictions' dots, in points: a level's are 1.5 times as large as those of the level before."""
    if strides is None:
        return 7.
    # Dots of the first level fit beside each other.
    smallest = np.clip(0.45 * 72 * scale * strides.min(), 2.5, 5)
    return np.minimum(smallest * 1.5**np.log2(strides / strides.min()), 20)


def _badges(bboxes: np.ndarray, points: np.ndarray, size: tuple[int, int], pixels: float) -> np.ndarray:
    """Centres of the objects' numbers, (G, 2): at a corner of the box, off other numbers and off the points.

    ``pixels`` is the length of a typographic point.
    """
    half = np.array([8, 7]) * pixels
    centres = []
    for left, top, right, bottom in bboxes:
        corners = np.array([(x + dx * half[0], y + dy * half[1]) for y, dy in ((top, -1), (bottom, 1), (top, 1))
                            for x, dx in ((left, 1), (right, -1))])
        corners = np.clip(corners, half, np.array(size) - half)
        taken = np.array(centres).reshape(-1, 2)
        overlaps = (np.abs(corners[:, None] - taken) < 2 * half).all(-1).sum(1)
        covered = (np.abs(corners[:, None] - points) < half + 3 * pixels).all(-1).sum(1)
        centres.append(corners[np.argmin(100 * overlaps + covered)])
    return np.array(centres)


def _draw_panel(panel: Axes, image: np.ndarray, bboxes: np.ndarray, points: np.ndarray, assigned: Assigned,
                diameters: np.ndarray | float, pred_bboxes: np.ndarray | None, badges: np.ndarray) -> None:
    height, width = image.shape[:2]
    grey = image.mean(-1, keepdims=True)
    pale = 255 - 0.5 * (255 - grey - 0.4 * (image - grey))
    panel.imshow(pale.clip(0, 255).astype(np.uint8), extent=(0, width, height, 0), interpolation='bicubic')
    panel.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    total = assigned.owners >= 0
    panel.set_title(f'{assigned.name}: {total.sum()} assigned, mean cost {assigned.costs[total].mean():.2f}'
                    if total.any() else f'{assigned.name}: none assigned', fontsize=FONT + 1, pad=4)
    halo = [withStroke(linewidth=3.2, foreground='white')]
    diameters = np.broadcast_to(diameters, len(points))
    for index, bbox in enumerate(bboxes):
        colour = colour_of(index)
        panel.add_patch(_rectangle(bbox, (width, height), color=colour, linewidth=1.7, path_effects=halo))
        own, _ = assigned.share(index)
        if pred_bboxes is not None:
            for each in own:
                panel.add_patch(_rectangle(pred_bboxes[each], (width, height), color=colour, linewidth=1.2,
                                           linestyle=(0, (3, 2))))
        for each in own:
            # The small ones in front of the large ones.
            panel.plot(*points[each], 'o', color=colour, markersize=diameters[each], markeredgecolor='white',
                       markeredgewidth=0.7, zorder=5 - 0.1 * diameters[each], clip_on=False)
        panel.text(*badges[index], str(index + 1), **_badge(colour), zorder=6)


def _rectangle(bbox: np.ndarray, size: tuple[int, int], **style) -> Rectangle:
    """A box cut off where the image ends, so that its border shows there, too."""
    low, high = np.clip(bbox.reshape(2, 2), 0, size)
    return Rectangle(low, *(high - low), fill=False, **style)


def _badge(colour: str) -> dict:
    return dict(color='white', fontsize=FONT - 1, fontweight='bold', ha='center', va='center',
                bbox=dict(boxstyle='round,pad=0.18', facecolor=colour, edgecolor='white', linewidth=0.7))


def _draw_table(table: Axes, assigned: Assigned, num_objects: int, rows: int) -> None:
    """Numbers, k and costs of the objects in two columns."""
    table.set(xlim=(0, 2), ylim=(rows, 0))
    table.axis('off')
    for index in range(num_objects):
        column, row = divmod(index, rows)
        own, cost = assigned.share(index)
        table.text(column + 0.07, row + 0.5, str(index + 1), **_badge(colour_of(index)))
        table.text(column + 0.17, row + 0.5, f'k={len(own)}, cost {cost:.2f}' if len(own) else 'k=0', va='center')


def _draw_footer(footer: Axes, strides: np.ndarray | None, diameters: np.ndarray | float, note: str) -> None:
    """The sizes of the dots, and the note."""
    footer.axis('off')
    entries = []
    if strides is not None:
        for stride, first in zip(*np.unique(strides, return_index=True)):
            entries.append(Line2D([], [], marker='o', linestyle='', color='#555555', markeredgecolor='white',
                                  markersize=diameters[first], label=f'stride {stride:g}'))
    else:
        entries += [Line2D([], [], color='#555555', linewidth=1.7, label='object'),
                    Line2D([], [], color='#555555', linewidth=1.2, linestyle=(0, (3, 2)), marker='o', markersize=7,
                           label='predicted by its query')]
    footer.legend(handles=entries, loc='center left', bbox_to_anchor=(0, 0.5), ncol=len(entries), frameon=False,
                  borderpad=0, borderaxespad=0, handletextpad=0.4, columnspacing=1.2)
    footer.text(1, 0.5, note, ha='right', va='center', color='#555555', transform=footer.transAxes)
