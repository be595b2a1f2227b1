"""Generated scenes: textured shapes on textured backgrounds, a pure function of (seed, index).

The places of the shapes (``layout``) and their looks (``render``) come from two random streams, so that annotations do
not require painting, and a change of the painting moves no box.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from ...errors import InputError

CLASSES = ('circle', 'square', 'triangle', 'star', 'ring', 'cross')
PALETTE = (
    (220, 20, 60),
    (0, 130, 200),
    (60, 160, 60),
    (245, 160, 20),
    (145, 30, 180),
    (0, 150, 150),
)

PLACEMENT_TRIES = 10
# Least distance in RGB, 0 to 441, between the main colour of a shape and the mean colour of what it is painted over.
MIN_CONTRAST = 90.0
SUBPIXEL_BITS = 4  # corners are drawn to a sixteenth of a pixel

Size = tuple[int, int]  # height and width


def _regular(corners: int, *radii: float) -> np.ndarray:
    """Return corners around the origin, the first one at the top, at ``radii`` in turn: (corners, 2)."""
    angles = np.arange(corners) * (2 * np.pi / corners) - np.pi / 2
    directions = np.stack([np.cos(angles), np.sin(angles)], 1)
    return directions * np.resize(radii, corners)[:, None]


def _cross(arm: float = 0.36) -> np.ndarray:
    """Return the twelve corners of an upright cross inside the unit circle, (12, 2)."""
    upper = np.array(
        [
            [-arm, -1],
            [arm, -1],
            [arm, -arm],
        ]
    )
    quarter_turn = np.array([[0, 1], [-1, 0]])
    corners = [upper @ np.linalg.matrix_power(quarter_turn, k) for k in range(4)]
    return np.concatenate(corners) / np.hypot(1, arm)


# Outlines inside the unit circle; an outline inside another one is a hole.
OUTLINES = dict(
    circle=[_regular(48, 1)],
    square=[_regular(4, 1)],
    triangle=[_regular(3, 1)],
    star=[_regular(10, 1, 0.42)],
    ring=[_regular(48, 1), _regular(48, 0.58)],
    cross=[_cross()],
)


class PlacedShape(NamedTuple):
    """One shape in an image.

    Attributes:
        label (int): Its class.
        x (int): Left column of the mask in the image.
        y (int): Top row of the mask in the image.
        mask (np.ndarray): Its full extent inside the image, hidden parts included; bool, (h, w), tight.
    """

    label: int
    x: int
    y: int
    mask: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the mask in the image."""
        height, width = self.mask.shape
        rows = slice(self.y, self.y + height)
        columns = slice(self.x, self.x + width)
        return rows, columns

    @property
    def bbox(self) -> list[float]:
        """``[x1, y1, x2, y2]`` in pixels; x2 and y2 are one past the last pixel."""
        rows, columns = self.window
        corners = columns.start, rows.start, columns.stop, rows.stop
        return [float(value) for value in corners]


@dataclass(frozen=True)
class ShapeScenes:
    """An endless series of images of shapes; the same seed and index yield the same image everywhere.

    Args:
        seed (int): Seed of the series. Two seeds share no image.
        image_size (int | tuple[int, int]): Side of the square images in pixels, or the inclusive range from which the
            width and the height of each image are drawn.
        classes (tuple[str]): Names out of :data:`CLASSES`; a label is an index into these.
        min_objects (int): Minimum number of shapes in an image that is not empty.
        max_objects (int): Maximum number of shapes in an image. A shape that finds no place is left out, except the
            foremost.
        empty_ratio (float): Share of images without shapes, 0 to 1.
        object_size (tuple[float, float]): Range of the diameter of a shape's circumscribed circle, relative to the
            image's shorter side.
        min_visible (float): Minimum share of a shape's pixels that shapes in front of it do not hide, 0 to 1.

    Raises:
        InputError: An argument is out of range.
    """

    seed: int = 0
    image_size: int | tuple[int, int] = 128
    classes: tuple[str, ...] = CLASSES
    min_objects: int = 1
    max_objects: int = 6
    empty_ratio: float = 0.05
    object_size: tuple[float, float] = (0.12, 0.6)
    min_visible: float = 0.35

    def __post_init__(self) -> None:
        for name in ('image_size', 'classes', 'object_size'):
            value = getattr(self, name)
            if isinstance(value, list):  # as in JSON and some configs
                object.__setattr__(self, name, tuple(value))
        unknown = [name for name in self.classes if name not in OUTLINES]
        if unknown or not self.classes:
            raise InputError(
                f'classes={self.classes} of generated shapes: choose from {", ".join(CLASSES)}.'
            )
        if not 1 <= self.min_objects <= self.max_objects:
            raise InputError(
                f'min_objects={self.min_objects}, max_objects={self.max_objects}: need 1 <= min <= max; for images '
                'without objects set empty_ratio.'
            )
        smallest, largest = self.object_size
        if not 0 < smallest <= largest <= 1:
            raise InputError(f'object_size={self.object_size}: need 0 < smallest <= largest <= 1.')
        if not (0 <= self.empty_ratio <= 1 and 0 <= self.min_visible <= 1):
            raise InputError(
                f'empty_ratio={self.empty_ratio} and min_visible={self.min_visible} must be in [0, 1].'
            )
        low, high = self._size_range
        if low > high or low * smallest < 6:
            raise InputError(
                f'image_size={self.image_size} with object_size={self.object_size}: the smallest object must be at '
                'least 6 pixels wide, and a range goes from low to high.'
            )

    @property
    def _size_range(self) -> tuple[int, int]:
        if isinstance(self.image_size, int):
            return self.image_size, self.image_size
        return self.image_size

    def _begin(self, index: int) -> tuple[Generator, int, int, int]:
        """Draw what comes before the shapes: (random numbers for the shapes, width, height, number of shapes)."""
        rng = np.random.default_rng([self.seed, index, 0])
        low, high = self._size_range
        width, height = (int(side) for side in rng.integers(low, high + 1, size=2))
        count = int(rng.integers(self.min_objects, self.max_objects + 1))
        if rng.random() < self.empty_ratio:
            count = 0
        return rng, width, height, count

    def outline(self, index: int) -> tuple[int, int, bool]:
        """Return the width and height of an image and whether it has any shape, without placing the shapes."""
        _, width, height, count = self._begin(index)
        return width, height, count > 0

    def layout(self, index: int) -> list[PlacedShape]:
        """Return the shapes of an image, from the hindmost to the foremost."""
        rng, width, height, count = self._begin(index)
        covered = np.zeros((height, width), bool)
        placed: list[PlacedShape] = []
        # From the foremost to the hindmost, since a new shape behind the others hides none of them.
        for _ in range(count):
            label = int(rng.integers(len(self.classes)))
            for _ in range(PLACEMENT_TRIES):
                shape = self._place(rng, label, width, height)
                visible = np.count_nonzero(shape.mask & ~covered[shape.window])
                if visible >= self.min_visible * np.count_nonzero(shape.mask):
                    covered[shape.window] |= shape.mask
                    placed.append(shape)
                    break
        return placed[::-1]

    def _place(self, rng: Generator, label: int, width: int, height: int) -> PlacedShape:
        """Draw the size, aspect ratio, rotation and place of a shape."""
        size, stretch, turn, right, down = rng.random(5)
        smallest, largest = self.object_size
        radius = 0.5 * min(width, height) * (smallest + (largest - smallest) * size)
        axes = np.array([radius, radius * (0.75 + 0.25 * stretch)])
        angle = 2 * np.pi * turn
        cos = np.cos(angle)
        sin = np.sin(angle)
        rotation = np.array([[cos, sin], [-sin, cos]])
        margin = 0.5 * radius  # the border may cut off a quarter of the diameter
        x = margin + (width - 2 * margin) * right
        y = margin + (height - 2 * margin) * down
        outlines = OUTLINES[self.classes[label]]
        corners = [(outline * axes) @ rotation + np.array([x, y]) for outline in outlines]
        return _rasterize(label, corners, (height, width))

    def render(self, index: int) -> np.ndarray:
        """Paint an image: uint8, (height, width, 3), BGR."""
        _, width, height, _ = self._begin(index)
        rng = np.random.default_rng([self.seed, index, 1])
        colour = rng.uniform(20, 235, 3)
        second_colour = colour + rng.uniform(-70, 70, 3)
        image = _blend(colour, second_colour, _texture(rng, (height, width)))
        noise = _smooth_noise(rng, (height, width), channels=3, cells=(5, 17))
        image += 40 * (noise - 0.5)
        num_lines = rng.integers(0, 4)  # lines that belong to no shape
        for _ in range(num_lines):
            start, end = rng.integers(0, (width, height), (2, 2)).tolist()
            line_colour = colour + rng.uniform(-90, 90, 3)
            thickness = int(rng.integers(1, 4))
            cv2.line(image, start, end, line_colour.tolist(), thickness, cv2.LINE_AA)
        for shape in self.layout(index):
            _paint(rng, image[shape.window], shape.mask)
        light = _smooth_noise(rng, (height, width), channels=1, cells=(2,))
        image *= 0.7 + 0.5 * light[..., None]
        image += rng.uniform(2, 8) * rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(image, 0, 255).astype(np.uint8)


def _rasterize(label: int, corners: list[np.ndarray], size: Size) -> PlacedShape:
    """Fill outlines, each (corners, 2) in pixels with the outermost first, inside an image."""
    height, width = size
    outermost = corners[0]
    first = np.floor(outermost.min(0)).astype(int) - 1
    first = np.maximum(first, 0)
    last = np.ceil(outermost.max(0)).astype(int) + 2
    last = np.minimum(last, (width, height))
    canvas_width, canvas_height = last - first
    canvas = np.zeros((canvas_height, canvas_width), np.uint8)
    scaled = [(outline - first) * 2**SUBPIXEL_BITS for outline in corners]
    polygons = [np.rint(outline).astype(np.int32) for outline in scaled]
    cv2.fillPoly(canvas, polygons, 1, shift=SUBPIXEL_BITS)
    x, y, w, h = cv2.boundingRect(canvas)
    mask = canvas[y : y + h, x : x + w] > 0
    left, top = first.tolist()
    return PlacedShape(label, left + x, top + y, mask)


def _blend(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mix two colours (3, ) by ``weight`` (h, w): float32 (h, w, 3)."""
    first, second = np.float32(np.clip([first, second], 0, 255))
    return first + weight[..., None] * (second - first)


def _smooth_noise(rng: Generator, size: Size, channels: int, cells: Sequence[int]) -> np.ndarray:
    """Average noise of several scales, given by their grid cells per side: float32 (h, w[, channels]), in [0, 1]."""
    total = 0
    for count in cells:
        grid = rng.random((count + 1, count + 1, channels), dtype=np.float32)
        total = total + cv2.resize(grid, size[::-1], interpolation=cv2.INTER_LINEAR)
    return total / len(cells)


def _texture(rng: Generator, size: Size) -> np.ndarray:
    """Draw a grey pattern of one of five kinds: float32 (h, w), in about [0, 1]."""
    kind = rng.integers(5)
    angle = rng.uniform(0, np.pi)
    if kind == 0:
        return _smooth_noise(rng, size, channels=1, cells=(3, 7, 15))
    height, width = size
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    cos, sin = np.float32([np.cos(angle), np.sin(angle)])
    along = x * cos + y * sin
    if kind == 1:  # gradient
        return (along - along.min()) / max(np.ptp(along), 1)
    wavelength = max(height, width) * rng.uniform(0.08, 0.4)
    frequency = np.float32(2 * np.pi / max(5.0, wavelength))
    if kind == 2:  # checkerboard
        across = y * cos - x * sin
        wave = np.sin(along * frequency) * np.sin(across * frequency)
        return (wave > 0).astype(np.float32)
    if kind == 3:  # wood grain: stripes bent by noise
        bend = _smooth_noise(rng, size, channels=1, cells=(4,))
        along = along + bend * (6 / frequency)
    return 0.5 + 0.5 * np.sin(along * frequency)


def _paint(rng: Generator, window: np.ndarray, mask: np.ndarray) -> None:
    """Paint one shape into ``window`` (float32, h x w x 3) in a colour that contrasts with what was there."""
    behind = np.array(cv2.mean(window)[:3])
    candidates = rng.uniform(0, 255, (8, 3))
    contrast = np.linalg.norm(candidates - behind, axis=1)
    is_enough = contrast >= MIN_CONTRAST
    choice = is_enough.argmax() if is_enough.any() else contrast.argmax()
    colour = candidates[choice]
    second_colour = colour + rng.uniform(-60, 60, 3)
    fill = _blend(colour, second_colour, _texture(rng, mask.shape))
    solid = mask.astype(np.float32)
    if rng.random() < 0.5:
        thickness = 3 if min(mask.shape) > 24 else 2
        kernel = np.ones((thickness, thickness))
        inside = cv2.erode(solid, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        is_light = colour.mean() > 110
        fill[inside < solid] = colour * 0.4 if is_light else colour * 0.4 + 150
    # Blurred inwards only, so that boxes stay tight.
    alpha = cv2.GaussianBlur(solid, (3, 3), 0, borderType=cv2.BORDER_CONSTANT) * solid
    window += alpha[..., None] * (fill - window)
