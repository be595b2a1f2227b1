"""A miniature of ImageNet in files: generated shapes, sorted into folders by class."""
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2

from .shape_scenes import CLASSES, ShapeScenes

OBJECT_SIZE = (0.4, 0.8)  # diameter as a share of the image: one clearly visible object, as in ImageNet


def write_shape_folders(root: str | Path, images: dict[str, int] | None = None, classes: Sequence[str] = CLASSES,
                        image_size: int | tuple[int, int] = (64, 96)) -> None:
    """Writes ``root/PART/CLASS/CLASS_00000.JPEG``, ..., one shape an image; the same images every time.

    Args:
        root (str | Path): Folder to make or to add to; files of the same names are replaced.
        images (dict[str, int], optional): Images a class of each part. Default: ``dict(train=200, val=40)``.
        classes (Sequence[str]): Names out of ``shape_scenes.CLASSES``.
        image_size (int | tuple[int, int]): Side of the square images in pixels, or the range of widths and heights.
    """
    for part, count in (images or dict(train=200, val=40)).items():
        for name in classes:
            folder = Path(root, part, name)
            folder.mkdir(parents=True, exist_ok=True)
            scenes = ShapeScenes(seed=zlib.crc32(f'{part}/{name}'.encode()), image_size=image_size, classes=(name, ),
                                 max_objects=1, empty_ratio=0, object_size=OBJECT_SIZE)
            for index in range(count):
                cv2.imwrite(str(folder / f'{name}_{index:05d}.JPEG'), scenes.render(index))
