"""Whether a checkpoint belongs to a model, said before a number is computed with the wrong weights."""
from collections.abc import Sequence

import torch.nn as nn
from mmengine.model import BaseTTAModel, is_model_wrapper

from ..errors import InputError


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
    theirs = {key.removeprefix('module.'): value for key, value in checkpoint.get('state_dict', checkpoint).items()}
    ours = {key: value for key, value in model.state_dict().items() if not key.endswith('num_batches_tracked')}
    shapes = [key for key in ours if key in theirs and theirs[key].shape != ours[key].shape]
    missing = [key for key in ours if key not in theirs]
    left_over = [key for key in theirs if key not in ours and not key.endswith('num_batches_tracked')]
    if partial and len(shapes) + len(missing) < len(ours) or not (shapes or missing or left_over):
        return
    parts = []
    if shapes:
        key = shapes[0]
        parts.append(f'{len(shapes)} of another shape, first {key} {tuple(theirs[key].shape)} instead of '
                     f'{tuple(ours[key].shape)}')
    parts += [f'{len(keys)} {what}, first {", ".join(keys[:3])}'
              for keys, what in ((missing, 'missing'), (left_over, 'left over')) if keys]
    classes = _class_counts(checkpoint, theirs, ours, shapes) if not missing and not left_over else None
    cause = 'none of its weights fits this model' if partial else 'it belongs to another model'
    advice = 'Give the config that it was trained with'
    if classes:
        cause = f'{classes[0]} classes in the checkpoint, {classes[1]} in the model'
        advice += f', or train this one from it: tools/train.py CONFIG --cfg-options load_from={name}'
    raise InputError(f'{name}: {cause} (weights: {"; ".join(parts)}). {advice}')


def _class_counts(checkpoint: dict, theirs: dict, ours: dict, shapes: Sequence[str]) -> tuple | None:
    """(classes of the checkpoint, classes of the model) if these explain every differing shape, else None."""
    meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
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
