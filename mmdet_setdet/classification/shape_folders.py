"""A miniature of ImageNet: generated shapes in files, sorted into folders by class."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2

from ..datasets.generators import CLASSES, ShapeScenes

OBJECT_SIZE = (
    0.4,
    0.8,
)  # diameter relative to the image: one clearly visible shape, as in ImageNet
NUM_IMAGES = dict(train=200, val=40)


def write_shape_folders(
    root: str | Path,
    images: dict[str, int] | None = None,
    classes: Sequence[str] = CLASSES,
    image_size: int | tuple[int, int] = (64, 96),
) -> None:
    """Write ``root/PART/CLASS/CLASS_00000.JPEG``, ..., with one shape per image; the same images every time.

    Args:
        root (str | Path): Folder to create or add to; files of the same names are replaced.
        images (dict[str, int], optional): Images per class of each part; ``dict(train=200, val=40)`` by default.
        classes (Sequence[str]): Names out of ``mmdet_setdet.datasets.generators.CLASSES``.
        image_size (int | tuple[int, int]): Side of the square images in pixels, or the range of widths and heights.
    """
    for part, count in (images or NUM_IMAGES).items():
        for name in classes:
            folder = Path(root, part, name)
            folder.mkdir(parents=True, exist_ok=True)
            scenes = ShapeScenes(
                seed=zlib.crc32(f'{part}/{name}'.encode()),
                image_size=image_size,
                classes=(name,),
                max_objects=1,
                empty_ratio=0,
                object_size=OBJECT_SIZE,
            )
            for index in range(count):
                file = folder / f'{name}_{index:05d}.JPEG'
                cv2.imwrite(str(file), scenes.render(index))
