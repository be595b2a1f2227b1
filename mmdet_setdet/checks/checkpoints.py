"""Check that a checkpoint belongs to a model, before any number is computed with the wrong weights."""

from typing import NamedTuple

import torch.nn as nn
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor

from ..errors import InputError

Weights = dict[str, Tensor]


class Differences(NamedTuple):
    """Differences between the weights in a checkpoint and those of a model.

    Attributes:
        shapes (dict[str, tuple]): Name -> (shape in the checkpoint, shape in the model), where they differ.
        missing (list[str]): Names that only the model has.
        left_over (list[str]): Names that only the checkpoint has.
    """

    shapes: dict[str, tuple]
    missing: list[str]
    left_over: list[str]

    @classmethod
    def between(cls, loaded: Weights, expected: Weights) -> 'Differences':
        """Compare the weights of a checkpoint with those of a model."""
        missing = [key for key in expected if key not in loaded]
        left_over = [key for key in loaded if key not in expected]
        shapes = {}
        for key, weight in expected.items():
            shape = getattr(loaded.get(key), 'shape', ())  # what is no tensor has no shape
            if key in loaded and shape != weight.shape:
                shapes[key] = tuple(shape), tuple(weight.shape)
        return cls(shapes, missing, left_over)

    @property
    def count(self) -> int:
        """Number of names that differ."""
        return sum(map(len, self))

    def __str__(self) -> str:
        shapes = [
            f'{key} {loaded} instead of {expected}'
            for key, (loaded, expected) in self.shapes.items()
        ]
        parts = (
            _first(shapes, 1, 'of another shape'),
            _first(self.missing, 3, 'missing'),
            _first(self.left_over, 3, 'left over'),
        )
        return '; '.join(filter(None, parts))


def _first(names: list[str], most: int, kind: str) -> str:
    return f'{len(names)} {kind}, first {", ".join(names[:most])}' if names else ''


def without_counters(weights: Weights) -> Weights:
    """Drop ``num_batches_tracked`` of batch norms, which frozen ones lack and nothing depends on."""
    return {key: value for key, value in weights.items() if not key.endswith('num_batches_tracked')}


def check_fit(model: nn.Module, checkpoint: dict, name: str, partial: bool = False) -> None:
    """Compare the keys and shapes of a checkpoint with those of a model.

    Args:
        model (nn.Module): The model, possibly wrapped for several processes or test-time augmentation.
        checkpoint (dict): Loaded content: weights, or a dict with ``state_dict`` and mmengine's ``meta``.
        name (str): File or URL of the checkpoint, for the message.
        partial (bool): Whether heads may differ, as for fine-tuning: it is enough that one weight fits.

    Raises:
        InputError: A weight is NaN; nothing fits; or, unless ``partial``, any key is missing, left over or of another
            shape.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    loaded = without_counters(checkpoint.get('state_dict', checkpoint))
    loaded = {key.removeprefix('module.'): value for key, value in loaded.items()}
    expected = without_counters(model.state_dict())
    for key, weight in loaded.items():
        if isinstance(weight, Tensor) and weight.is_floating_point() and weight.isnan().any():
            raise InputError(
                f'{name}: its weight {key} is NaN, as after a training that diverged; take an earlier checkpoint'
            )
    differences = Differences.between(loaded, expected)
    num_fitting = len(expected) - len(differences.shapes) - len(differences.missing)
    if not differences.count or (partial and num_fitting > 0):
        return
    cause = 'none of its weights fits this model' if partial else 'it belongs to another model'
    advice = 'Give the config that it was trained with'
    only_shapes_differ = len(differences.shapes) == differences.count
    classes = _class_counts(checkpoint, differences.shapes) if only_shapes_differ else None
    if classes:
        cause = f'{classes[0]} classes in the checkpoint, {classes[1]} in the model'
        advice += (
            f', or train this one from it: tools/train.py CONFIG --cfg-options load_from={name}'
        )
    raise InputError(f'{name}: {cause} (weights: {differences}). {advice}')


def dataset_meta(checkpoint: dict) -> dict:
    """Return what a checkpoint says of the data set that it was trained on; empty if nothing."""
    meta = checkpoint.get('meta')
    said = meta.get('dataset_meta') if isinstance(meta, dict) else None
    return said if isinstance(said, dict) else {}


def _class_counts(checkpoint: dict, shapes: dict[str, tuple]) -> tuple[int, int] | None:
    """Return (classes of the checkpoint, classes of the model) if these explain every differing shape, else None.

    A classifier has some rows per class and possibly a few more, for "no object" or an unknown label, which are as
    many in both. With 3 classes in the checkpoint, (4, 256) against (5, 256) is 1 row per class plus 1: 4 classes in
    the model. (27, 16, 3, 3) against (36, 16, 3, 3) is 9 rows per class: 4 classes, too.
    """
    meta = dataset_meta(checkpoint)
    names = meta.get('classes') or meta.get('CLASSES') or ()
    rows = [loaded[0] for loaded, _ in shapes.values() if loaded]
    count = len(names) or min(rows, default=0)
    counts = set()
    for loaded, expected in shapes.values():
        rows_per_class = loaded[0] // count if loaded and count else 0
        if not rows_per_class or not expected or loaded[1:] != expected[1:]:
            return None
        counts.add(count + (expected[0] - loaded[0]) // rows_per_class)
    return (count, counts.pop()) if len(counts) == 1 else None
