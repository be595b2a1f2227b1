"""YOLO: a ``data.yaml`` and a text file per image."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from mmengine.utils import track_iter_progress

from ...errors import InputError
from ...runtime.images import IMAGE_ENDINGS
from .annotated import (
    SPLIT_NAMES,
    AnnotatedFolder,
    as_coco,
    image_files,
    image_size,
    with_val,
)


def read_yolo(file: Path) -> AnnotatedFolder:
    """Read the images and labels that a ``data.yaml`` names.

    The label file of ``images/train/a.jpg`` is ``labels/train/a.txt``. A line is a class and (cx, cy, w, h) in [0, 1]
    of the image, or a class and the corners of a polygon, of which the bounding box is taken. An image without a label
    file has no objects.

    Args:
        file (Path): The ``data.yaml``: ``names``, ``train``, ``val`` and perhaps ``test`` and ``path``.

    Raises:
        InputError: A key is missing, an image folder does not exist or has no images, no image has a label file, or a
            line of a label file is wrong.
    """
    try:
        data = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise InputError(f'{file}: not YAML ({str(error).splitlines()[0]})') from error
    if not isinstance(data, dict) or not data.get('names'):
        raise InputError(f'{file}: it must have names, the list of classes')
    names = data['names']
    classes = (
        [str(names[key]) for key in sorted(names)]
        if isinstance(names, dict)
        else [*map(str, names)]
    )

    folder = file.parent.resolve()
    splits = {}
    for key, split in SPLIT_NAMES.items():
        if data.get(key):
            images = _images(data[key], folder, data.get('path'), f'{file}: {key}')
            splits[split] = _read_split(images, classes, folder)
    if not splits:
        raise InputError(f'{file}: it must have train, the folder of the images')
    return AnnotatedFolder('YOLO', folder, with_val(splits))


def _images(places: str | Sequence[str], folder: Path, root: str | None, key: str) -> list[Path]:
    """The images of a split: of folders, or of text files that list them."""
    images = []
    for place in [places] if isinstance(places, str) else places:
        # Many files were written on another machine, or for another folder than their own.
        bases = [folder / (root or ''), folder, folder.parent]
        candidates = [base / place for base in bases] + [folder / place.removeprefix('../')]
        path = next((path for path in candidates if path.exists()), None)
        if path is None:
            raise InputError(f'{key}: {place} does not exist (looked for {candidates[0]})')
        if path.is_dir():
            images += image_files(path)
        else:
            lines = path.read_text().split()
            images += [(path.parent / line).resolve() for line in lines]
    images = [image.resolve() for image in images if image.suffix.lower() in IMAGE_ENDINGS]
    if not images:
        raise InputError(f'{key}: there are no images in {places}')
    return images


def _read_split(images: list[Path], classes: list[str], folder: Path) -> dict:
    if not any(_label_file(image).is_file() for image in images):
        raise InputError(
            f'{images[0]}: no image of this split has a label file; that of this one should be '
            f'{_label_file(images[0])}'
        )
    entries = [_read(image, len(classes), folder) for image in track_iter_progress(images)]
    return as_coco(classes, entries)


def _label_file(image: Path) -> Path:
    parts = list(image.parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == 'images':
            parts[index] = 'labels'
            break
    return Path(*parts).with_suffix('.txt')


def _read(image: Path, num_classes: int, folder: Path) -> dict:
    width, height = image_size(image)
    file = _label_file(image)
    lines = file.read_text().splitlines() if file.is_file() else []
    objects = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            objects.append(_object(line, width, height, num_classes, f'{file}, line {number}'))
    name = image.relative_to(folder) if image.is_relative_to(folder) else image
    return dict(file_name=str(name), width=width, height=height, objects=objects)


def _object(line: str, width: int, height: int, num_classes: int, place: str) -> dict:
    try:
        label, *numbers = [float(word) for word in line.split()]
    except ValueError:
        raise InputError(f'{place}: {line.strip()!r} must be numbers') from None
    if label not in range(num_classes):
        raise InputError(
            f'{place}: class {label:g} is not one of the {num_classes} names of data.yaml'
        )
    if len(numbers) == 4:
        cx, cy, w, h = numbers
        box = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    elif len(numbers) >= 6 and len(numbers) % 2 == 0:
        xs, ys = numbers[::2], numbers[1::2]
        box = min(xs), min(ys), max(xs), max(ys)
    else:
        raise InputError(
            f'{place}: a class and 4 numbers (cx, cy, w, h) or the corners of a polygon, got {len(numbers)} numbers'
        )
    if not all(-0.01 <= number <= 1.01 for number in numbers):
        raise InputError(f'{place}: coordinates must be shares of the image, 0 to 1, got {numbers}')
    sides = (width, height, width, height)
    pixels = [min(max(share, 0), 1) * side for share, side in zip(box, sides)]
    return dict(label=int(label), box=pixels)
