"""Generated scenes: textured shapes on textured backgrounds, a pure function of (seed, index).

Where the objects are (``layout``) and how they look (``render``) come from two random streams, so that annotations can
be had without painting anything, and a change of the painting moves no box.
"""
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import InputError

CLASSES = ('circle', 'square', 'triangle', 'star', 'ring', 'cross')
PALETTE = ((220, 20, 60), (0, 130, 200), (60, 160, 60), (245, 160, 20), (145, 30, 180), (0, 150, 150))

PLACEMENT_TRIES = 10
MIN_CONTRAST = 90.0  # distance in RGB, 0..441, between an object's main colour and the mean of what it is painted over


def _regular(corners: int, *radii: float) -> np.ndarray:
    """Corners on a circle, starting upright, at ``radii`` in turn: (corners, 2)."""
    angles = np.arange(corners) * (2 * np.pi / corners) - np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], 1) * np.resize(radii, corners)[:, None]


def _cross(arm: float = 0.36) -> np.ndarray:
    quarter = np.array([[-arm, -1], [arm, -1], [arm, -arm]])
    turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)]) / np.hypot(1, arm)


# Outlines inside the unit circle; an outline inside another one is a hole.
OUTLINES = dict(
    circle=[_regular(48, 1)], square=[_regular(4, 1)], triangle=[_regular(3, 1)], star=[_regular(10, 1, 0.42)],
    ring=[_regular(48, 1), _regular(48, 0.58)], cross=[_cross()])


class PlacedShape(NamedTuple):
    """One object: ``mask`` (bool, h x w) is its full extent inside the image, tight, with its corner at (x, y)."""
    label: int
    x: int
    y: int
    mask: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        height, width = self.mask.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)

    @property
    def bbox(self) -> list[float]:
        """Corners ``[x1, y1, x2, y2]`` in pixels; x2 and y2 are one past the last pixel."""
        height, width = self.mask.shape
        return [float(self.x), float(self.y), float(self.x + width), float(self.y + height)]


@dataclass(frozen=True)
class ShapeScenes:
    """An endless series of images with shapes on them; the same seed and index give the same image everywhere.

    Args:
        seed (int): Names the series. Two seeds share no image.
        image_size (int | tuple[int, int]): Side of the square images in pixels, or the inclusive range from which the
            width and the height of each image are drawn.
        classes (tuple[str]): Names out of :data:`CLASSES`; an object's label is its position here.
        min_objects (int): Fewest objects of an image that is not empty.
        max_objects (int): Most objects of an image. Crowded images may hold fewer than were drawn, never none.
        empty_ratio (float): Share of images without any object.
        object_size (tuple[float, float]): Range of the diameter of an object's circumscribed circle, relative to the
            image's shorter side.
        min_visible (float): Share of an object's pixels that the objects in front of it leave visible at least.
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
        for name in ('image_size', 'classes', 'object_size'):  # from JSON or a config they come as lists
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        unknown = [name for name in self.classes if name not in OUTLINES]
        if unknown or not self.classes:
            raise InputError(f'classes={self.classes} of generated shapes: choose from {", ".join(CLASSES)}.')
        if not 1 <= self.min_objects <= self.max_objects:
            raise InputError(f'min_objects={self.min_objects}, max_objects={self.max_objects}: need 1 <= min <= max; '
                             'images without objects are asked for by empty_ratio.')
        if not 0 < self.object_size[0] <= self.object_size[1] <= 1:
            raise InputError(f'object_size={self.object_size}: need 0 < smallest <= largest <= 1.')
        if not 0 <= self.empty_ratio <= 1 or not 0 <= self.min_visible <= 1:
            raise InputError(f'empty_ratio={self.empty_ratio} and min_visible={self.min_visible} must be in [0, 1].')
        if min(self._size_range) * self.object_size[0] < 6 or self._size_range[0] > self._size_range[1]:
            raise InputError(f'image_size={self.image_size} with object_size={self.object_size}: the smallest object '
                             'must be at least 6 pixels wide, and a range goes from low to high.')

    @property
    def _size_range(self) -> tuple[int, int]:
        return (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size

    def _begin(self, index: int):
        rng = np.random.default_rng([self.seed, index, 0])
        low, high = self._size_range
        width, height = (int(side) for side in rng.integers(low, high + 1, size=2))
        count = int(rng.integers(self.min_objects, self.max_objects + 1))
        return rng, width, height, 0 if rng.random() < self.empty_ratio else count

    def outline(self, index: int) -> tuple[int, int, bool]:
        """(width, height, whether there is any object) of an image, without placing its objects."""
        _, width, height, count = self._begin(index)
        return width, height, count > 0

    def layout(self, index: int) -> list[PlacedShape]:
        """The objects of an image, from the hindmost to the foremost."""
        rng, width, height, count = self._begin(index)
        covered = np.zeros((height, width), bool)
        placed: list[PlacedShape] = []
        for _ in range(count):  # foremost first: what is in front never changes when something is put behind it
            label = int(rng.integers(len(self.classes)))
            for _ in range(PLACEMENT_TRIES):
                shape = self._place(rng, label, width, height)
                visible = np.count_nonzero(shape.mask & ~covered[shape.window])
                if visible >= self.min_visible * np.count_nonzero(shape.mask):
                    covered[shape.window] |= shape.mask
                    placed.append(shape)
                    break
        return placed[::-1]

    def _place(self, rng: np.random.Generator, label: int, width: int, height: int) -> PlacedShape:
        size, stretch, turn, right, down = rng.random(5)
        low, high = self.object_size
        radius = 0.5 * min(width, height) * (low + (high - low) * size)
        axes = np.array([radius, radius * (0.75 + 0.25 * stretch)])
        angle = 2 * np.pi * turn
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        margin = 0.5 * radius  # the border may cut off a quarter of the diameter
        centre = np.array([margin + (width - 2 * margin) * right, margin + (height - 2 * margin) * down])
        corners = [(outline * axes) @ rotation + centre for outline in OUTLINES[self.classes[label]]]
        first = np.maximum(np.floor(corners[0].min(0)).astype(int) - 1, 0)
        last = np.minimum(np.ceil(corners[0].max(0)).astype(int) + 2, (width, height))
        canvas = np.zeros((last - first)[::-1], np.uint8)
        cv2.fillPoly(canvas, [np.rint((c - first) * 16).astype(np.int32) for c in corners], 1, shift=4)
        x, y, w, h = cv2.boundingRect(canvas)
        return PlacedShape(label, int(first[0]) + x, int(first[1]) + y, canvas[y:y + h, x:x + w] > 0)

    def render(self, index: int) -> np.ndarray:
        """Paint an image: uint8, (height, width, 3), BGR."""
        _, width, height, _ = self._begin(index)
        rng = np.random.default_rng([self.seed, index, 1])
        colour = rng.uniform(20, 235, 3)
        image = _blend(colour, colour + rng.uniform(-70, 70, 3), _texture(rng, height, width))
        image += 40 * (_smooth_noise(rng, height, width, 3, cells=(5, 17)) - 0.5)
        for _ in range(rng.integers(0, 4)):  # lines that belong to no object
            ends = rng.integers(0, (width, height), (2, 2)).tolist()
            cv2.line(image, *ends, (colour + rng.uniform(-90, 90, 3)).tolist(), int(rng.integers(1, 4)), cv2.LINE_AA)
        for shape in self.layout(index):
            _paint(rng, image[shape.window], shape.mask)
        light = _smooth_noise(rng, height, width, 1, cells=(2,))
        image *= 0.7 + 0.5 * light[..., None]
        image += rng.uniform(2, 8) * rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(image, 0, 255).astype(np.uint8)


def _blend(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Two colours (3,) mixed by ``weight`` (h, w): float32 (h, w, 3)."""
    first, second = np.float32(np.clip([first, second], 0, 255))
    return first + weight[..., None] * (second - first)


def _smooth_noise(rng: np.random.Generator, height: int, width: int, channels: int, cells: tuple[int, ...]):
    """Noise in about [0, 1] of several scales, each of ``cells`` grid cells a side: float32 (h, w[, channels])."""
    total = 0
    for count in cells:
        grid = rng.random((count + 1, count + 1, channels), dtype=np.float32)
        total = total + cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
    return total / len(cells)


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A grey pattern in about [0, 1], one of five kinds at random: float32 (h, w)."""
    kind, angle = rng.integers(5), rng.uniform(0, np.pi)
    if kind == 0:
        return _smooth_noise(rng, height, width, 1, cells=(3, 7, 15))
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    cos, sin = np.float32([np.cos(angle), np.sin(angle)])
    along, across = x * cos + y * sin, y * cos - x * sin
    if kind == 1:  # gradient
        return (along - along.min()) / max(np.ptp(along), 1)
    pace = np.float32(2 * np.pi / max(5.0, max(height, width) * rng.uniform(0.08, 0.4)))
    if kind == 2:  # checker
        return (np.sin(along * pace) * np.sin(across * pace) > 0).astype(np.float32)
    if kind == 3:  # grain: stripes bent by noise
        along = along + _smooth_noise(rng, height, width, 1, cells=(4,)) * (6 / pace)
    return 0.5 + 0.5 * np.sin(along * pace)


def _paint(rng: np.random.Generator, window: np.ndarray, mask: np.ndarray) -> None:
    """Paint one object into ``window`` (float32, h x w x 3) in a colour that stands out from what was there."""
    behind = np.array(cv2.mean(window)[:3])
    candidates = rng.uniform(0, 255, (8, 3))
    contrast = np.linalg.norm(candidates - behind, axis=1)
    enough = contrast >= MIN_CONTRAST
    colour = candidates[enough.argmax() if enough.any() else contrast.argmax()]
    fill = _blend(colour, colour + rng.uniform(-60, 60, 3), _texture(rng, *mask.shape))
    solid = mask.astype(np.float32)
    if rng.random() < 0.5:
        thickness = 3 if min(mask.shape) > 24 else 2
        inside = cv2.erode(solid, np.ones((thickness,) * 2), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        fill[inside < solid] = colour * 0.4 if colour.mean() > 110 else colour * 0.4 + 150
    alpha = cv2.GaussianBlur(solid, (3, 3), 0, borderType=cv2.BORDER_CONSTANT) * solid  # soft inwards: boxes stay tight
    window += alpha[..., None] * (fill - window)
