"""Pascal VOC: an XML file per image."""

from pathlib import Path
from xml.etree import ElementTree

from mmengine.utils import track_iter_progress

from ...errors import InputError
from .annotated import AnnotatedFolder, as_coco, image_files, image_size, split_name, with_val


def read_voc(folder: Path, files: list[Path]) -> AnnotatedFolder:
    """Read XML files of annotations.

    Splits come from ``ImageSets/Main/{train,val,test}.txt`` or from the names of folders. As in mmdet's reader 1 is
    subtracted from coordinates, which count from 1, and difficult objects are ignored (``iscrowd``).

    Args:
        folder (Path): The data set.
        files (list[Path]): The XML files in it.

    Raises:
        InputError: A file is broken, or its image is missing.
    """
    images_by_name = {}
    for file in image_files(folder):
        images_by_name.setdefault(file.stem, file)
    listed = _listed_splits(folder)
    images: dict[str, list] = {}
    for file in track_iter_progress(files):
        split = listed.get(file.stem) if listed else split_name(file.parent, folder)
        if listed and split is None:
            continue
        images.setdefault(split or 'all', []).append(_read(file, folder, images_by_name))
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
        for line in file.read_text().split('\n'):
            if line.strip():
                names.setdefault(line.split()[0], split)
    return names


def _read(file: Path, folder: Path, images_by_name: dict[str, Path]) -> dict:
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
    image = images_by_name.get(Path(named).stem) or images_by_name.get(file.stem)
    if image is None:
        raise InputError(f'{file}: its image {named} is nowhere in {folder}')
    width, height = image_size(image)
    return dict(
        file_name=str(image.relative_to(folder)), width=width, height=height, objects=objects
    )


def _object(node: ElementTree.Element) -> dict:
    sides = [
        float(node.find('bndbox').findtext(side)) - 1 for side in ('xmin', 'ymin', 'xmax', 'ymax')
    ]
    name = node.findtext('name').strip()
    difficult = int(node.findtext('difficult') or 0)
    return dict(label=name, box=sides, ignore=bool(difficult))
