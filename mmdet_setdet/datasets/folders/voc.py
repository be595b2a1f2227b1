"""Pascal VOC: an XML file per image."""

import re
from pathlib import Path
from xml.etree import ElementTree

from mmengine.utils import track_iter_progress

from ...checks.annotations import warn
from ...errors import InputError
from .annotated import AnnotatedFolder, as_coco, with_val
from .files import (
    ImageFinder,
    files_below,
    image_size,
    read_text,
    relative_name,
    split_name,
)


def voc_files(folder: Path) -> list[Path]:
    """Return the XML files in a folder that look like annotations of Pascal VOC."""
    return [file for file in files_below(folder, {'.xml'}) if _is_annotation(file)]


def _is_annotation(file: Path) -> bool:
    with file.open(encoding='utf-8', errors='replace') as opened:
        return re.search(r'<annotation[\s>]', opened.read(1000)) is not None


def read_voc(folder: Path, files: list[Path]) -> AnnotatedFolder:
    """Read XML files of annotations.

    Splits come from ``ImageSets/Main/{train,val,test}.txt`` or from the names of folders. As in mmdet's reader 1 is
    subtracted from coordinates, which count from 1, and difficult objects are ignored (``iscrowd``). An image has the
    name of its XML file or, where there is none, the name that the file tells.

    Args:
        folder (Path): The data set.
        files (list[Path]): See :func:`voc_files`.

    Raises:
        InputError: A file is broken, its image is missing or could be several, or the lists name none of the files.
    """
    finder = ImageFinder(folder)
    listed = _listed_splits(folder)
    _check_lists(listed, files, folder)
    images: dict[str, list] = {}
    for file in track_iter_progress(files):
        split = listed.get(file.stem) if listed else split_name(file.parent, folder)
        if listed and split is None:
            continue
        images.setdefault(split or 'all', []).append(_read(file, finder, split))
    names = {
        one['label'] for split in images.values() for image in split for one in image['objects']
    }
    classes = sorted(names)
    for split in images.values():
        for image in split:
            for one in image['objects']:
                one['label'] = classes.index(one['label'])
    splits = {name: as_coco(classes, entries) for name, entries in images.items()}
    return AnnotatedFolder('VOC', folder, with_val(splits))


def _listed_splits(folder: Path) -> dict[str, str]:
    """Name of image -> split, from the lists of VOC; empty if there are none."""
    lists = sorted(folder.rglob('ImageSets/Main/*.txt'))
    names = {}
    # 'trainval' is the other two together: it only counts for images that no other list has.
    for file in sorted(lists, key=lambda file: file.stem == 'trainval'):
        split = dict(trainval='train').get(file.stem) or split_name(file, file.parent)
        if split is None or file.stem not in ('train', 'val', 'test', 'trainval'):
            continue
        for line in read_text(file).splitlines():
            if line.strip():
                names.setdefault(line.strip(), split)
    return names


def _check_lists(listed: dict[str, str], files: list[Path], folder: Path) -> None:
    lost = listed.keys() - {file.stem for file in files}
    if lost:
        message = f'{folder}: {len(lost)} of {len(listed)} names in ImageSets/Main have no XML file'
        example = f', for example {min(lost)}'
        if len(lost) == len(listed):
            raise InputError(message + example)
        warn(message + example)


def _read(file: Path, finder: ImageFinder, split: str | None) -> dict:
    try:
        root = ElementTree.parse(file).getroot()
        objects = [_object(node) for node in root.iter('object')]
    except ElementTree.ParseError as error:
        raise InputError(f'{file}: not XML ({error})') from error
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f'{file}: an object must have a name and a bndbox with the numbers xmin, ymin, xmax and ymax'
        ) from error
    named = root.findtext('filename') or file.stem
    names = [file.stem + Path(named).suffix, file.stem, named, Path(named).stem]
    image = finder.find(names, file, split)
    width, height = image_size(image)
    name = relative_name(image, finder.folder)
    return dict(file_name=name, width=width, height=height, objects=objects)


def _object(node: ElementTree.Element) -> dict:
    sides = [
        float(node.find('bndbox').findtext(side)) - 1 for side in ('xmin', 'ymin', 'xmax', 'ymax')
    ]
    name = node.findtext('name').strip()
    difficult = int(node.findtext('difficult') or 0)
    return dict(label=name, box=sides, ignore=bool(difficult))
