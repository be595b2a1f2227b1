"""Checks that a model, its data set and its checkpoint agree on the classes."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from ..classification import ImageFolder
from ..errors import InputError
from .annotations import first_names
from .data_sets import base_datasets

# Parts of a model with classes of their own: a backbone's, or the single class of a proposal network.
OTHER_CLASSES = (
    'backbone',
    'rpn_head',
    'semantic_head',
    'panoptic_fusion_head',
    'pretrain_img_size',
)


def check_classes(model: dict, dataset, config: str) -> None:
    """Compare ``num_classes`` of every head with the classes of the data set.

    Args:
        model (dict): Config of the model.
        dataset: A built data set. Without ``metainfo['classes']`` it is not checked.
        config (str): Path of the config, for the message.

    Raises:
        InputError: They differ; the message names the keys to set.
    """
    metainfo = getattr(dataset, 'metainfo', None) or {}
    classes = metainfo.get('classes')
    if not classes or isinstance(classes, str):
        return
    counts = dict(head_class_counts(model, 'model'))
    wrong = {key: count for key, count in counts.items() if count != len(classes)}
    if wrong:
        key, count = next(iter(wrong.items()))
        options = ' '.join(f'{key}={len(classes)}' for key in wrong)
        raise InputError(
            f'{config}: the data set has {len(classes)} classes ({first_names(classes)}), {key} is {count}; '
            f'set {options}'
        )


def head_class_counts(node, path: str) -> Iterator[tuple[str, int]]:
    """Iterate over (key, ``num_classes``) of the heads in the config of a model."""
    items = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    for key, value in items:
        if key == 'num_classes' and isinstance(value, int):
            yield f'{path}.{key}', value
        elif key not in OTHER_CLASSES:
            yield from head_class_counts(value, f'{path}.{key}')


def image_folders(dataset) -> list[ImageFolder]:
    """Return those of the data sets below wrappers whose classes are folders."""
    return [base for base in base_datasets(dataset) if isinstance(base, ImageFolder)]


def check_class_folders(dataset, classes: Sequence[str] | None, source: str) -> None:
    """Compare folders of images with the classes of a model, since labels only count folders.

    Args:
        dataset: A built data set; only an :class:`ImageFolder`, also below wrappers, is checked.
        classes (Sequence[str], optional): Classes that labels 0, 1, ... mean to the model; None if unknown.
        source (str): Folder or checkpoint that the classes come from, for the message.

    Raises:
        InputError: They differ; the message names both sides and the first difference.
    """
    if not classes:
        return
    for folder in image_folders(dataset):
        names = folder.metainfo['classes']
        for label, (in_folder, in_source) in enumerate(zip_longest(names, classes)):
            if in_folder != in_source:
                raise InputError(
                    f'{folder.data_prefix["img_path"]}: its folders are other classes than those of {source}: label '
                    f'{label} is {in_folder or "missing"} here and {in_source or "missing"} there. Give both the same '
                    'folders, or name and order the classes by metainfo=dict(classes=(...)) of the data sets'
                )
