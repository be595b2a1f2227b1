"""The files of a data set: which there are, and which image an annotation means."""

import os
from collections import defaultdict
from collections.abc import Container, Sequence
from itertools import filterfalse
from pathlib import Path, PurePath

from PIL import Image, UnidentifiedImageError

from ...errors import InputError
from ...runtime.images import IMAGE_ENDINGS

# What people call the images that a model is judged by.
SPLIT_NAMES = dict(train='train', val='val', valid='val', validation='val', test='test')


def files_below(folder: Path, endings: Container[str]) -> list[Path]:
    """Return the files with one of the endings in a folder and its subfolders, also linked ones, sorted.

    Hidden files and what macOS adds to archives are left out.
    """
    files, seen = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in seen:
            # A link that leads back would never end.
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(filterfalse(_is_hidden, folders))
        files += [Path(parent, name) for name in filterfalse(_is_hidden, names)]
    return sorted(file for file in files if file.suffix.lower() in endings)


def _is_hidden(name: str) -> bool:
    return name.startswith('.') or name == '__MACOSX'


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8, without the mark that Windows puts in front.

    Raises:
        InputError: It is in another encoding.
    """
    try:
        return file.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(f'{file}: not text in UTF-8 ({error})') from error


def image_files(folder: Path) -> list[Path]:
    """Return the image files in a folder and its subfolders, sorted."""
    return files_below(folder, IMAGE_ENDINGS)


def image_size(file: Path) -> tuple[int, int]:
    """Return the width and height of an image as it is shown, turned as its EXIF data say.

    Raises:
        InputError: The file is no image.
    """
    try:
        with Image.open(file) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) >= 5
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f'{file}: not an image that can be read') from error
    return (height, width) if turned else (width, height)


def split_name(path: Path, folder: Path) -> str | None:
    """Return which split a file or folder inside ``folder`` belongs to by its name, None if the name does not say."""
    for part in reversed(path.relative_to(folder).parts):
        words = ''.join(letter if letter.isalpha() else ' ' for letter in part.lower()).split()
        for word in words:
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return None


def relative_name(file: Path, folder: Path) -> str:
    """Return the path of a file relative to a folder; that of a file elsewhere stays as it is."""
    return str(file.relative_to(folder) if file.is_relative_to(folder) else file)


class ImageFinder:
    """Finds the images that annotations mean, wherever they lie in a folder.

    Args:
        folder (Path): The data set.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = defaultdict(list)
        for file in image_files(folder):
            for key in {file.name.lower(), file.stem.lower()}:
                self._files[key].append(file)

    def find(self, names: Sequence[str], source: Path, split: str | None) -> Path:
        """Return the image of an annotation file.

        Of images with the same name, the one is meant whose folders are like those in the name; else the one in the
        folder of the split; else the closest to the annotation file.

        Args:
            names (Sequence[str]): What the image may be called, the surest first; folders may stand before the name,
                and the ending may be missing.
            source (Path): The annotation file.
            split (str, optional): The split that it belongs to.

        Raises:
            InputError: There is no such image, or several could be meant.
        """
        for name in names:
            path = PurePath(name.replace('\\', '/').lower())
            files = self._files.get(path.name)
            if files:
                return self._closest(files, path, source, split)
        raise InputError(f'{source}: its image {names[0]} is nowhere in {self.folder}')

    def _closest(self, files: list[Path], path: PurePath, source: Path, split: str | None) -> Path:
        def closeness(file: Path) -> tuple[int, bool, int]:
            parts = [part.lower() for part in file.parts]
            return (
                _equal_at_start(parts[::-1], path.parts[::-1]),
                split_name(file.parent, self.folder) == split,
                _equal_at_start(file.parts, source.parts),
            )

        best = max(map(closeness, files))
        closest = [file for file in files if closeness(file) == best]
        if len(closest) > 1:
            raise InputError(
                f'{source}: its image {path.name} may be {closest[0]} or {closest[1]}; take one away'
            )
        return closest[0]


def _equal_at_start(one: Sequence[str], other: Sequence[str]) -> int:
    """How many items are equal before the first that is not."""
    count = 0
    for a, b in zip(one, other):
        if a != b:
            break
        count += 1
    return count
