"""COCO: JSON files of annotations."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ...errors import InputError
from .annotated import AnnotatedFolder, with_val
from .files import ImageFinder, files_below, read_text, relative_name, split_name

KEYS = {'images', 'annotations', 'categories'}


def coco_files(folder: Path) -> dict[Path, dict]:
    """Return the JSON files in a folder that look like COCO's annotations of boxes, with their content."""
    found = {}
    for file in files_below(folder, {'.json'}):
        if not file.name.startswith(('captions', 'person_keypoints', 'panoptic', 'stuff')):
            with file.open(encoding='utf-8-sig', errors='replace') as opened:
                starts_as_object = opened.read(64).lstrip().startswith('{')
            content = _load(file) if starts_as_object else {}
            if content.keys() >= KEYS:
                found[file] = content
    return found


def _load(file: Path) -> dict:
    try:
        content = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise InputError(f'{file}: not JSON ({error})') from error
    return content if isinstance(content, dict) else {}


def read_coco(folder: Path, files: dict[Path, dict]) -> AnnotatedFolder:
    """Read annotation files; the names of files and folders tell the splits.

    Args:
        folder (Path): The data set.
        files (dict[Path, dict]): See :func:`coco_files`.

    Raises:
        InputError: Two files are the same split, their classes differ, or an image is missing or could be several.
    """
    finder = ImageFinder(folder)
    splits, sources = {}, {}
    for file in _preferred(files):
        split = split_name(file, folder) or 'all'
        if split in sources:
            names = [relative_name(one, folder) for one in (sources[split], file)]
            raise InputError(
                f'{folder}: {" and ".join(names)} both are {split} by their names; keep one, or put train, val or '
                'test into the names'
            )
        sources[split] = file
        splits[split] = _with_paths(files[file], file, finder)
    categories = [split['categories'] for split in splits.values()]
    if any(other != categories[0] for other in categories):
        raise InputError(f'{folder}: the classes of {" and ".join(map(str, files))} differ')
    return AnnotatedFolder('COCO', folder, with_val(splits))


def _preferred(files: Iterable[Path]) -> list[Path]:
    """Those with COCO's own names, instances_train2017.json and the like, if there are any."""
    official = [file for file in files if re.fullmatch(r'instances_[a-z]+\d*', file.stem)]
    return official or list(files)


def _with_paths(coco: dict, file: Path, finder: ImageFinder) -> dict:
    """Make file names relative to the folder."""
    folder = finder.folder
    split = split_name(file, folder)
    images = []
    for image in coco['images']:
        name = str(image.get('file_name'))
        # Beside the annotations, as some programs write it, or anywhere under that name.
        places = (file.parent / name, folder / name)
        path = next((path for path in places if path.is_file()), None)
        path = path or finder.find([name], file, split)
        images.append(dict(image, file_name=relative_name(path, folder)))
    return dict(coco, images=images)
