"""Backbones take their own out of whatever checkpoint they are given."""
from torch import nn

# Where other code bases keep the backbone in a whole detector's checkpoint: DETR's authors, mmdet.
DETECTOR_PREFIXES = ('backbone.0.body.', 'backbone.')


def take_backbone(module: nn.Module, state_dict: dict, prefix: str, *args) -> None:
    """Leaves in a checkpoint that is loaded into a lone backbone what belongs to the backbone, by its bare names.

    A hook for ``register_load_state_dict_pre_hook``. Weights of the classifier ('fc', 'head') are left out.
    """
    if prefix:
        return
    entries = state_dict
    for wrapper in ('model', 'state_dict'):
        if isinstance(entries.get(wrapper), dict):
            entries = entries[wrapper]
    entries = dict(entries)
    for stem in DETECTOR_PREFIXES:
        if any(key.startswith(stem) for key in entries):
            entries = {key[len(stem):]: value for key, value in entries.items() if key.startswith(stem)}
            break
    state_dict.clear()
    state_dict.update((key, value) for key, value in entries.items() if not key.startswith(('fc.', 'head.')))
