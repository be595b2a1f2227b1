"""Names and shapes of the weights in checkpoints that others publish, as they call them: ``golden/author_names.json``.

Written by hand from the models of their code bases, at the revisions in ``golden/sources.json`` (facebookresearch/detr,
IDEA-Research/DN-DETR) and from IDEA-Research/DAB-DETR 723ddb8 and transformers 5.23; ``hf-*`` are what transformers
saves, ``hf5-*`` the names within its models since version 5::

    json.dump(fold({name: list(value.shape) for name, value in model.state_dict().items()}), file)
"""
import json
from pathlib import Path

import torch

GOLDEN = Path(__file__).parents[1] / 'golden'


def fold(shapes: dict) -> dict:
    """Names as a tree, in which branches that are alike are one: ``{'layers': {'0|1': {'weight': [2, 3]}}}``."""
    branches = {}
    for name, shape in shapes.items():
        head, _, tail = name.partition('.')
        if tail:
            branches.setdefault(head, {})[tail] = shape
        else:
            branches[head] = shape
    alike = {}
    for head, branch in branches.items():
        branch = fold(branch) if isinstance(branch, dict) else branch
        alike.setdefault(json.dumps(branch), []).append(head)
    return {'|'.join(heads): json.loads(branch) for branch, heads in alike.items()}


def unfold(tree: dict, prefix: str = '') -> dict:
    """The opposite of :func:`fold`: shapes by name."""
    shapes = {}
    for heads, branch in tree.items():
        for head in heads.split('|'):
            shapes.update(unfold(branch, f'{prefix}{head}.') if isinstance(branch, dict) else {prefix + head: branch})
    return shapes


def load() -> dict[str, dict[str, list[int]]]:
    """Source -> name -> shape, of models with ResNet-50 and COCO's 91 ids."""
    path = GOLDEN / 'author_names.json'
    return {source: unfold(tree) for source, tree in json.loads(path.read_text()).items()}


def light_weights(shapes: dict) -> dict[str, torch.Tensor]:
    """A tensor for each name that takes no room in memory or in a file; row i of what has 91 or 92 rows is i."""
    return {name: torch.arange(float(shape[0])).view(-1, *[1] * (len(shape) - 1)).expand(shape)
            if shape and shape[0] in (91, 92) else torch.zeros(()).expand(shape) for name, shape in shapes.items()}
