"""Names and shapes of the weights in published checkpoints, from ``golden/author_names.json``.

Written by hand from the models of their code bases, at the revisions in ``golden/sources.json`` (facebookresearch/detr,
IDEA-Research/DN-DETR, megvii-research/AnchorDETR) and from IDEA-Research/DAB-DETR 723ddb8 and transformers 5.23;
``hf-*`` are what transformers saves, ``hf5-*`` the names within its models since version 5::

    json.dump(fold({name: list(value.shape) for name, value in model.state_dict().items()}), file)
"""

import json
from pathlib import Path

import torch

GOLDEN = Path(__file__).parents[1] / 'golden'


def fold(shapes: dict) -> dict:
    """Fold names into a tree in which equal branches are one.

    ``{'layers.0.weight': [2, 3], 'layers.1.weight': [2, 3]}`` becomes ``{'layers': {'0|1': {'weight': [2, 3]}}}``.
    """
    branches = {}
    for name, shape in shapes.items():
        head, _, tail = name.partition('.')
        if tail:
            branches.setdefault(head, {})[tail] = shape
        else:
            branches[head] = shape
    heads_by_branch = {}
    for head, branch in branches.items():
        if isinstance(branch, dict):
            branch = fold(branch)
        heads_by_branch.setdefault(json.dumps(branch), []).append(head)
    return {'|'.join(heads): json.loads(branch) for branch, heads in heads_by_branch.items()}


def unfold(tree: dict, prefix: str = '') -> dict:
    """Invert :func:`fold`: return shapes by name."""
    shapes = {}
    for heads, branch in tree.items():
        for head in heads.split('|'):
            name = prefix + head
            if isinstance(branch, dict):
                shapes.update(unfold(branch, f'{name}.'))
            else:
                shapes[name] = branch
    return shapes


def load() -> dict[str, dict[str, list[int]]]:
    """Return {source: {name: shape}} of models with ResNet-50 and COCO's 91 ids."""
    path = GOLDEN / 'author_names.json'
    trees = json.loads(path.read_text())
    return {source: unfold(tree) for source, tree in trees.items()}


def light_weights(shapes: dict) -> dict[str, torch.Tensor]:
    """Return a tensor for each name that takes no room in memory or in a file.

    Weights of classes, which have 91 or 92 rows, hold i in row i; all others are zero.
    """
    weights = {}
    for name, shape in shapes.items():
        if shape and shape[0] in (91, 92):
            further_dims = [1] * (len(shape) - 1)
            rows = torch.arange(float(shape[0])).view(-1, *further_dims)
            weights[name] = rows.expand(shape)
        else:
            weights[name] = torch.zeros(()).expand(shape)
    return weights
