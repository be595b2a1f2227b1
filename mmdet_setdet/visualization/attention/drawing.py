"""Drawing where queries and tokens look: one panel for each, side by side."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from .looks import HeatMaps, Look, Samples

COLUMNS = 4
LONGEST_SIDE = 640  # pixels of a drawn image
PANEL = 3.0  # inches, the longer side of a panel
HEADING = 0.3
TITLE = 0.35
LEGEND = 0.3
DPI = 110
FONT = 9  # points
BOX_COLOUR = '#00d5ff'
LEVEL_COLOURS = ('#ffd400', '#ff7f0e', '#e3173e', '#8a2be2', '#1f6fd6')
LARGEST_DOT = 90  # square points, of a weight of one


def draw_queries(
    image: np.ndarray, seen: Look, queries: Sequence[int], title: str, out: Path
) -> None:
    """Draw where queries of the decoder look, each with its box, class and score.

    Args:
        image (np.ndarray): uint8 RGB, (h, w, 3).
        seen (Look): What the detector finds in it.
        queries (Sequence[int]): Which queries, one panel each.
        title (str): Title of the sheet.
        out (Path): PNG file to write; its folder is created.
    """
    image = _small(image)
    sheet = _Sheet(image, len(queries), title, seen.decoder)
    for panel, query in zip(sheet.panels, queries):
        _draw_attention(panel, image, seen.decoder, query)
        _draw_box(panel, image, seen.boxes[query])
        panel.set_title(seen.describe(query))
    sheet.save(out)


def draw_points(
    image: np.ndarray,
    seen: Look,
    points: np.ndarray,
    queries: Sequence[int],
    title: str,
    out: Path,
) -> None:
    """Draw where the tokens of the encoder at some points look, beside the image with what was found in it.

    Args:
        image (np.ndarray): uint8 RGB, (h, w, 3).
        seen (Look): What the detector finds in it.
        points (np.ndarray): (x, y) as shares of the image, (N, 2), one panel each.
        queries (Sequence[int]): The queries whose boxes are drawn in the image.
        title (str): Title of the sheet.
        out (Path): PNG file to write; its folder is created.
    """
    image = _small(image)
    sheet = _Sheet(image, 1 + len(points), title, seen.encoder)
    first, *others = sheet.panels
    first.imshow(image)
    first.set_title('the points')
    for query in queries:
        _draw_box(first, image, seen.boxes[query])
    places = points * image.shape[1::-1]
    for number, (panel, token, place) in enumerate(zip(others, seen.tokens_at(points), places), 1):
        _draw_attention(panel, image, seen.encoder, token)
        panel.set_title(f'from point {number}')
        _draw_point(panel, place, number)
        _draw_point(first, place, number)
    sheet.save(out)


class _Sheet:
    """A figure of equal panels, row after row, below its title and above the legend of sampling points.

    Args:
        image (np.ndarray): The image that each panel shows.
        count (int): Number of panels.
        title (str): Title of the sheet.
        attention (HeatMaps | Samples): What will be drawn; points have a legend.
    """

    def __init__(
        self, image: np.ndarray, count: int, title: str, attention: HeatMaps | Samples
    ) -> None:
        height, width = PANEL * np.array(image.shape[:2]) / max(image.shape[:2])
        columns = min(count, COLUMNS)
        rows = -(-count // columns)
        has_points = isinstance(attention, Samples)
        size = (columns * width, rows * (height + HEADING) + TITLE + LEGEND * has_points)
        # no pyplot: draws to a file, needs no display
        self.figure = Figure(figsize=size, dpi=DPI, layout='constrained')
        self.figure.suptitle(title, fontsize=FONT + 1)
        self.panels = self.figure.subplots(rows, columns, squeeze=False).flatten().tolist()
        for panel in self.panels[count:]:
            panel.remove()
        for panel in self.panels[:count]:
            panel.set(xticks=[], yticks=[])
        if has_points:
            handles = _level_legend(attention.weights.shape[2])
            self.figure.legend(
                handles=handles,
                loc='outside lower center',
                ncol=len(handles),
                frameon=False,
                fontsize=FONT,
            )

    def save(self, out: Path) -> None:
        """Write the file."""
        out.parent.mkdir(parents=True, exist_ok=True)
        self.figure.savefig(out)


def _small(image: np.ndarray) -> np.ndarray:
    factor = LONGEST_SIDE / max(image.shape[:2])
    method = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=method)


def _draw_attention(
    panel: Axes, image: np.ndarray, attention: HeatMaps | Samples, index: int
) -> None:
    if isinstance(attention, HeatMaps):
        panel.imshow(_heated(image, attention.cells[index], attention.extent))
    else:
        panel.imshow(_pale(image))
        _draw_samples(panel, image, attention.points[index], attention.weights[index])
    height, width = image.shape[:2]
    panel.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _heated(image: np.ndarray, cells: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Return the image in grey, and the cells where a query looks in the colours of heat; the hottest is yellow."""
    height, width = image.shape[:2]
    size = np.ceil(extent * [width, height]).astype(int).tolist()
    heat = cv2.resize(cells, size, interpolation=cv2.INTER_CUBIC)[:height, :width]
    heat = (heat / cells.max()).clip(0, 1)
    colours = 255 * matplotlib.colormaps['inferno'](heat)[..., :3]
    share = heat[..., None]
    grey = 0.8 * image.mean(-1, keepdims=True)
    return ((1 - share) * grey + share * colours).astype(np.uint8)


def _pale(image: np.ndarray) -> np.ndarray:
    return (255 - 0.5 * (255 - image.mean(-1, keepdims=True).repeat(3, -1))).astype(np.uint8)


def _draw_samples(panel: Axes, image: np.ndarray, points: np.ndarray, weights: np.ndarray) -> None:
    """Draw sampling points (heads, L, points, 2), larger with their weight, in the colours of their levels."""
    points = points * image.shape[1::-1]
    for level in range(points.shape[1]):
        panel.scatter(
            *points[:, level].reshape(-1, 2).T,
            s=LARGEST_DOT * weights[:, level].flatten(),
            color=LEVEL_COLOURS[level % len(LEVEL_COLOURS)],
            edgecolors='black',
            linewidths=0.3,
            zorder=3,
        )


def _level_legend(count: int) -> list[Line2D]:
    """Return what explains the colours of L levels; the first is the finest."""
    return [
        Line2D([], [], marker='o', linestyle='none', color=colour, label=f'level {level}')
        for level, colour in enumerate(LEVEL_COLOURS[:count], 1)
    ]


def _draw_box(panel: Axes, image: np.ndarray, box: np.ndarray) -> None:
    x1, y1, x2, y2 = box * np.tile(image.shape[1::-1], 2)
    halo = [withStroke(linewidth=3.2, foreground='black')]
    panel.add_patch(
        Rectangle(
            (x1, y1),
            x2 - x1,
            y2 - y1,
            fill=False,
            color=BOX_COLOUR,
            linewidth=1.7,
            path_effects=halo,
        )
    )


def _draw_point(panel: Axes, place: np.ndarray, number: int) -> None:
    style = dict(boxstyle='circle,pad=0.15', facecolor=BOX_COLOUR, edgecolor='black')
    panel.text(
        *place, number, fontsize=FONT - 2, fontweight='bold', ha='center', va='center', bbox=style
    )
