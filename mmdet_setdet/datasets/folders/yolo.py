"""YOLO: a ``data.yaml`` and a text file per image."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from mmengine.utils import track_iter_progress

from ...checks.annotations import warn
from ...errors import InputError
from ...runtime.images import IMAGE_ENDINGS
from .annotated import AnnotatedFolder, as_coco, with_val
from .files import SPLIT_NAMES, image_files, image_size, read_text, relative_name


def yolo_file(folder: Path) -> Path | None:
    """Return the YAML file in a folder that describes a data set, None if there is none.

    That is ``data.yaml``, or another one with ``names`` or with a path for a split.
    """
    files = sorted(folder.glob('*.yaml')) + sorted(folder.glob('*.yml'))
    named_data = [file for file in files if file.stem == 'data']
    return next(iter(named_data + [file for file in files if _describes_data(file)]), None)


def _describes_data(file: Path) -> bool:
    try:
        content = _load(file)
    except InputError:
        return False
    return 'names' in content or any(
        isinstance(content.get(split), str | list) for split in SPLIT_NAMES
    )


def _load(file: Path) -> dict:
    try:
        content = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        raise InputError(f'{file}: not YAML ({str(error).splitlines()[0]})') from error
    return content if isinstance(content, dict) else {}


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
    data = _load(file)
    if not data.get('names'):
        raise InputError(f'{file}: it must have names, the list of classes')
    names = _names(data['names'], file)
    # Links stay as they are: the labels lie beside the link, not beside what it leads to.
    folder = Path(os.path.abspath(file.parent))
    images = {
        split: _images(data[key], folder, data.get('path'), f'{file}: {key}')
        for key, split in SPLIT_NAMES.items()
        if data.get(key)
    }
    if not images:
        raise InputError(f'{file}: it must have train, the folder of the images')
    if {'train', 'val', 'test'} <= images.keys() and not any(map(_has_labels, images['test'])):
        warn(f'{file}: the images of test have no label files; test is left out')
        del images['test']
    splits = {split: _read_split(files, names, folder) for split, files in images.items()}
    _warn_of_lost_labels([image for files in images.values() for image in files], file)
    return AnnotatedFolder('YOLO', folder, with_val(splits))


def _names(names: object, file: Path) -> dict[int, str]:
    """Label -> class; a dict in the file may have gaps."""
    if isinstance(names, list):
        names = dict(enumerate(names))
    try:
        return {int(label): str(names[label]) for label in sorted(names, key=int)}
    except (TypeError, ValueError):
        raise InputError(
            f'{file}: names must be a list of classes, or a class for each label (0: bolt)'
        ) from None


def _images(places: str | Sequence[str], folder: Path, root: str | None, key: str) -> list[Path]:
    """The images of a split: of folders, or of text files that list them."""
    images = []
    # Many files were written on another machine, or for another folder than their own.
    bases = [folder / (root or ''), folder, folder.parent]
    for place in [places] if isinstance(places, str) else places:
        place = place.replace('\\', '/')
        candidates = [base / place for base in bases] + [folder / place.removeprefix('../')]
        path = _first_existing(candidates)
        if path is None:
            raise InputError(f'{key}: {place} does not exist (looked for {candidates[0]})')
        images += image_files(path) if path.is_dir() else _listed_images(path, bases)
    images = [Path(os.path.abspath(image)) for image in images]
    if not images:
        raise InputError(f'{key}: there are no images in {places}')
    return images


def _listed_images(file: Path, bases: Sequence[Path]) -> list[Path]:
    """The images that a text file lists, one a line."""
    images = []
    for line in map(str.strip, read_text(file).splitlines()):
        if Path(line).suffix.lower() in IMAGE_ENDINGS:
            image = _first_existing(base / line for base in (file.parent, *bases))
            if image is None:
                raise InputError(f'{file}: its image {line} does not exist')
            images.append(image)
    return images


def _first_existing(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def _read_split(images: list[Path], names: dict[int, str], folder: Path) -> dict:
    if not any(map(_has_labels, images)):
        raise InputError(
            f'{images[0]}: no image of this split has a label file; that of this one should be '
            f'{_label_file(images[0])}'
        )
    indices = {label: index for index, label in enumerate(names)}
    entries = [_read(image, indices, folder) for image in track_iter_progress(images)]
    return as_coco(list(names.values()), entries)


def _has_labels(image: Path) -> bool:
    return _label_file(image).is_file()


def _label_file(image: Path) -> Path:
    parts = list(image.parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == 'images':
            parts[index] = 'labels'
            break
    return Path(*parts).with_suffix('.txt')


def _warn_of_lost_labels(images: Sequence[Path], file: Path) -> None:
    used = {_label_file(image) for image in images}
    beside = {
        label for folder in {label.parent for label in used} for label in folder.glob('*.txt')
    }
    lost = sorted(label for label in beside - used if _is_label_file(label))
    if lost:
        warn(
            f'{file}: {len(lost)} label files have no image in it and are left out, for example {lost[0]}'
        )


def _is_label_file(file: Path) -> bool:
    """Whether a text file begins with a class, unlike lists of images and of classes."""
    words = file.read_text(errors='replace').split(maxsplit=1)
    return bool(words) and words[0].isdecimal()


def _read(image: Path, indices: dict[int, int], folder: Path) -> dict:
    width, height = image_size(image)
    file = _label_file(image)
    lines = read_text(file).splitlines() if file.is_file() else []
    objects = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            objects.append(_object(line, width, height, indices, f'{file}, line {number}'))
    name = relative_name(image, folder)
    return dict(file_name=name, width=width, height=height, objects=objects)


def _object(line: str, width: int, height: int, indices: dict[int, int], place: str) -> dict:
    try:
        label, *numbers = [float(word) for word in line.split()]
    except ValueError:
        raise InputError(f'{place}: {line.strip()!r} must be numbers') from None
    if label not in indices:
        raise InputError(
            f'{place}: class {label:g} is not one of the {len(indices)} names of data.yaml'
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
    return dict(label=indices[label], box=pixels)
