"""Names and shapes of the weights in published checkpoints, from ``golden/author_names.json``.

Written by hand from the models of their code bases, at the revisions in ``golden/sources.json`` (facebookresearch/detr,
IDEA-Research/DN-DETR and DINO, megvii-research/AnchorDETR) and from IDEA-Research/DAB-DETR 723ddb8,
fundamentalvision/Deformable-DETR 11169a6 and transformers 5.23; ``hf-*`` are what transformers saves, ``hf5-*`` the
names within its models since version 5::

    json.dump(fold({name: list(value.shape) for name, value in model.state_dict().items()}), file)
"""

import itertools
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
    """Return {source: {name: shape}} of models with ResNet-50, or Swin-L, and COCO's 91 ids."""
    path = GOLDEN / 'author_names.json'
    trees = json.loads(path.read_text())
    return {source: unfold(tree) for source, tree in trees.items()}


def panoptic(shapes: dict) -> dict[str, list[int]]:
    """Return the names and shapes of the authors' panoptic DETR, given those of their DETR."""
    result = {}
    for name, shape in shapes.items():
        if name.startswith('class_embed.'):
            shape = [251, *shape[1:]]
        result[f'detr.{name}'] = shape
    for name in ('q_linear', 'k_linear'):
        result |= {
            f'bbox_attention.{name}.weight': [256, 256],
            f'bbox_attention.{name}.bias': [256],
        }
    widths = [264, 264, 128, 64, 32, 16]
    for i, (before, after) in enumerate(itertools.pairwise(widths), 1):
        result |= {
            f'mask_head.lay{i}.weight': [after, before, 3, 3],
            f'mask_head.lay{i}.bias': [after],
        }
        result |= {f'mask_head.gn{i}.weight': [after], f'mask_head.gn{i}.bias': [after]}
    for i, (before, after) in enumerate([(1024, 128), (512, 64), (256, 32)], 1):
        name = f'mask_head.adapter{i}'
        result |= {f'{name}.weight': [after, before, 1, 1], f'{name}.bias': [after]}
    return result | {'mask_head.out_lay.weight': [1, 16, 3, 3], 'mask_head.out_lay.bias': [1]}


def light_weights(shapes: dict) -> dict[str, torch.Tensor]:
    """Return a tensor for each name that takes no room in memory or in a file.

    Weights of classes, which have 91, 92 or with stuff 251 rows, hold i in row i; all others are zero.
    """
    weights = {}
    for name, shape in shapes.items():
        if shape and shape[0] in (91, 92, 251):
            further_dims = [1] * (len(shape) - 1)
            rows = torch.arange(float(shape[0])).view(-1, *further_dims)
            weights[name] = rows.expand(shape)
        else:
            weights[name] = torch.zeros(()).expand(shape)
    return weights
