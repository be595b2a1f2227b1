"""Detections drawn on their picture, by Pillow."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .detections import Detections


def draw(image: np.ndarray, found: Detections, with_scores: bool = True) -> Image.Image:
    """Return an image (H, W, 3) of uint8, red, green, blue, with boxes, class names and, unless told not to, scores."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    side = max(picture.size)
    font = ImageFont.load_default(max(11, side // 60))
    line = max(2, side // 400)
    # The best is drawn last, above the others.
    for index in reversed(range(len(found))):
        x1, y1, x2, y2 = found.boxes[index].tolist()
        colour = class_colour(int(found.labels[index]))
        pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=line)
        score = f' {found.scores[index]:.2f}' if with_scores else ''
        text = f' {found.names[index]}{score} '
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        height = bottom - top + 4
        x = min(x1, max(picture.width - (right - left), 0))
        y = y1 - height if y1 >= height else y1
        pen.rectangle((x, y, x + right - left, y + height), fill=colour)
        pen.text((x, y + 2 - top), text, fill='white', font=font)
    return picture


def class_colour(label: int) -> tuple[int, int, int]:
    """Return a colour, dark enough for white text; neighbours differ by the golden angle."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.381966 % 1, 0.85, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)
