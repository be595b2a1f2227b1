"""Whether a checkpoint belongs to a model, said before a number is computed with the wrong weights."""
from collections.abc import Sequence
from typing import NamedTuple

import torch.nn as nn
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor

from ..errors import InputError


class Differences(NamedTuple):
    """In what the weights of a checkpoint differ from those that a model wants.

    Attributes:
        shapes (dict[str, tuple]): Name -> (shape in the checkpoint, shape in the model), where they differ.
        missing (list[str]): Names that the checkpoint lacks.
        left_over (list[str]): Names that the model lacks.
    """
    shapes: dict[str, tuple]
    missing: list[str]
    left_over: list[str]

    @classmethod
    def between(cls, theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> 'Differences':
        """Between a checkpoint's weights and a model's."""
        shapes = {key: (tuple(theirs[key].shape), tuple(value.shape)) for key, value in ours.items() if key in theirs}
        return cls({key: pair for key, pair in shapes.items() if pair[0] != pair[1]},
                   [key for key in ours if key not in theirs], [key for key in theirs if key not in ours])

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(map(len, self))

    def __str__(self) -> str:
        shapes = [f'{key} {theirs} instead of {ours}' for key, (theirs, ours) in self.shapes.items()]
        kinds = ((shapes, 1, 'of another shape'), (self.missing, 3, 'missing'), (self.left_over, 3, 'left over'))
        return '; '.join(f'{len(keys)} {what}, first {", ".join(keys[:most])}' for keys, most, what in kinds if keys)


def without_counters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights without batch norm's ``num_batches_tracked``, which frozen batch norm lacks and nobody needs."""
    return {key: value for key, value in weights.items() if not key.endswith('num_batches_tracked')}


def check_fit(model: nn.Module, checkpoint: dict, name: str, partial: bool = False) -> None:
    """Compares the keys and shapes of a checkpoint with those of a model.

    Args:
        model (nn.Module): The model, wrapped for several processes or test-time augmentation or not.
        checkpoint (dict): What was loaded: weights, or a dict with ``state_dict`` and mmengine's ``meta``.
        name (str): Its file or URL, for the message.
        partial (bool): Fine-tuning, where heads may differ: it is enough that one weight fits.

    Raises:
        InputError: Nothing fits; or, unless ``partial``, any key is missing, left over or of another shape.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    theirs = without_counters(checkpoint.get('state_dict', checkpoint))
    theirs, ours = {key.removeprefix('module.'): theirs[key] for key in theirs}, without_counters(model.state_dict())
    found = Differences.between(theirs, ours)
    if partial and len(found.shapes) + len(found.missing) < len(ours) or not found.count:
        return
    only_shapes = len(found.shapes) == found.count
    classes = _class_counts(checkpoint, theirs, ours, list(found.shapes)) if only_shapes else None
    cause = 'none of its weights fits this model' if partial else 'it belongs to another model'
    advice = 'Give the config that it was trained with'
    if classes:
        cause = f'{classes[0]} classes in the checkpoint, {classes[1]} in the model'
        advice += f', or train this one from it: tools/train.py CONFIG --cfg-options load_from={name}'
    raise InputError(f'{name}: {cause} (weights: {found}). {advice}')


def dataset_meta(checkpoint: dict) -> dict:
    """What a checkpoint says of the data set that it was trained on; empty if nothing."""
    return (checkpoint.get('meta') or {}).get('dataset_meta') or {}


def _class_counts(checkpoint: dict, theirs: dict, ours: dict, shapes: Sequence[str]) -> tuple | None:
    """(classes of the checkpoint, classes of the model) if these explain every differing shape, else None."""
    meta = dataset_meta(checkpoint)
    names = meta.get('classes') or meta.get('CLASSES') or ()
    count = len(names) or min((theirs[key].shape[0] for key in shapes if theirs[key].dim()), default=0)
    counts = set()
    for key in shapes:
        yours, mine = theirs[key].shape, ours[key].shape
        rows_a_class = yours[0] // count if yours and count else 0
        if not rows_a_class or len(mine) != len(yours) or mine[1:] != yours[1:]:
            return None
        # Rows beyond the multiple ("no object", "unknown") are the same in both.
        counts.add(count + (mine[0] - yours[0]) // rows_a_class)
    return (count, counts.pop()) if len(counts) == 1 else None
