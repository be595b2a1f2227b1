"""What each field of a COCO annotation file must hold, as one table."""

import math
from collections.abc import Callable
from typing import NamedTuple

from ..errors import InputError, short

LARGEST_ID = 2**53  # the evaluation keeps ids as floats


def is_number(value) -> bool:
    """Whether a value is an int or float that is finite as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _is_id(value) -> bool:
    is_whole = is_number(value) and value == int(value) and abs(value) <= LARGEST_ID
    return is_whole or isinstance(value, str)


def _is_size(value) -> bool:
    return is_number(value) and value > 0


def _is_name(value) -> bool:
    return isinstance(value, str) and '\0' not in value


def _is_file_name(value) -> bool:
    return _is_name(value) and value != ''


def _is_box(value) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        return False
    # Numbers that are not finite have a message of their own.
    return all(isinstance(number, (int, float)) for number in value)


def _is_flag(value) -> bool:
    return value is None or (isinstance(value, (bool, int, float)) and value in (0, 1))


def _is_mask(value) -> bool:
    return value is None or isinstance(value, (list, dict))


class Field(NamedTuple):
    """One field of the entries of a list.

    Attributes:
        accepts (Callable): Function (value) -> bool.
        description (str): What it must be, for messages.
        is_required (bool): Whether every entry must have it.
    """

    accepts: Callable[[object], bool]
    description: str
    is_required: bool = True


_ID = Field(_is_id, 'a whole number or text')
_SIZE = Field(_is_size, 'a number above 0')
_FLAG = Field(_is_flag, '0 or 1', is_required=False)

# List of the file -> (what one entry is called, its fields).
FIELDS: dict[str, tuple[str, dict[str, Field]]] = {
    'images': (
        'image',
        {
            'id': _ID,
            'file_name': Field(_is_file_name, 'the name of a file'),
            'width': _SIZE,
            'height': _SIZE,
        },
    ),
    'categories': ('category', {'id': _ID, 'name': Field(_is_name, 'text')}),
    'annotations': (
        'annotation',
        {
            'id': _ID,
            'image_id': _ID,
            'category_id': _ID,
            'bbox': Field(_is_box, 'four numbers: x, y, width, height'),
            'area': Field(is_number, 'a number'),
            'iscrowd': _FLAG,
            'ignore': _FLAG,
            'segmentation': Field(_is_mask, 'a list of polygons or an RLE', is_required=False),
        },
    ),
}


def check_lists(coco: dict, file: str) -> None:
    """Check that the three lists are there, and that there are images; also of a panoptic annotation file.

    Args:
        coco (dict): Content of the file.
        file (str): Path of the file, for the messages.

    Raises:
        InputError: A list is missing, or there is no image.
    """
    for key in FIELDS:
        if not isinstance(coco.get(key), list):
            keys = ', '.join(map(str, list(coco)[:8]))
            raise InputError(
                f'{file}: not a COCO annotation file: it has no list "{key}" (it has: {keys or "nothing"})'
            )
    if not coco['images']:
        raise InputError(f'{file}: its list "images" is empty')


def check_fields(coco: dict, file: str) -> None:
    """Check that the three lists are there, and every field of every entry by :data:`FIELDS`.

    Args:
        coco (dict): Content of the file.
        file (str): Path of the file, for the messages.

    Raises:
        InputError: A list or field is missing, a value is of another kind, there is no image, or an id occurs twice.
    """
    check_lists(coco, file)
    for key, (kind, fields) in FIELDS.items():
        entries = coco[key]
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise InputError(
                    f'{file}: entry {number} of "{key}" is {short(entry)}, not an object with fields'
                )
            for name, field in fields.items():
                if name in entry and field.accepts(entry[name]):
                    continue
                if name in entry or field.is_required:
                    raise InputError(f'{file}: {kind} {_explain(entry, number, name, field)}')
        _check_ids(entries, key, kind, file)


def _explain(entry: dict, number: int, name: str, field: Field) -> str:
    culprit = f'number {number}'
    if _is_id(entry.get('id')) and name != 'id':
        culprit = short(entry['id'])
    if name not in entry:
        return f'{culprit} has no "{name}"'
    return f'{culprit} has the {name} {short(entry[name])}; it must be {field.description}'


def _check_ids(entries: list[dict], key: str, kind: str, file: str) -> None:
    ids = [entry['id'] for entry in entries]
    is_text = [isinstance(value, str) for value in ids]
    if len(set(is_text)) == 2:
        example = ids[is_text.index(True)]
        raise InputError(
            f'{file}: some ids of "{key}" are numbers and some are text, for example {example!r}; make all numbers'
        )
    if len(set(ids)) == len(ids):
        return
    seen = set()
    for value in ids:
        if value in seen:
            raise InputError(
                f'{file}: {kind} {value} is there twice; give each entry of "{key}" its own id'
            )
        seen.add(value)
