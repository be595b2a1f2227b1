"""Whether an exported file computes what the model computes, at other sizes and batches than it was traced with."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from ..errors import InputError
from ..runtime.backends import Tensors
from .graphs import ClassGraph, Graph
from .precision import TOLERANCES


def check_file(
    graph: Graph,
    run: Callable[..., Tensors],
    size: tuple[int, int],
    dynamic: Sequence[str],
    name: str,
    tolerance: float = TOLERANCES['float32'],
) -> dict:
    """Compare an exported file with the model it came from.

    Args:
        graph (Graph): The model.
        run (Callable): Runs the file: called with numpy arrays ``images`` and ``sizes``, returns the outputs by name.
        size (tuple[int, int]): Height and width that it was traced with.
        dynamic (Sequence[str]): What may change, see :func:`export`.
        name (str): The file, for the message.
        tolerance (float): The largest difference allowed, of scores and logits, and of boxes as a share of the image.

    Returns:
        dict[str, float]: The largest difference of each input shape, as 'B x H x W'.

    Raises:
        InputError: They differ by more than ``tolerance``.
    """
    differences = {}
    for images, sizes in _inputs(size, dynamic):
        tensors = dict(images=images, sizes=sizes)
        if isinstance(graph, ClassGraph):
            del tensors['sizes']
        with torch.no_grad():
            outputs = graph(**tensors)
        expected = {key: value.numpy() for key, value in zip(graph.outputs, outputs)}
        actual = run(**{key: value.numpy() for key, value in tensors.items()})
        shape = ' x '.join(str(images.shape[axis]) for axis in (0, 2, 3))
        differences[shape] = difference(expected, actual, max(images.shape[2:]), tolerance)
    worst = max(differences, key=differences.get)
    if not differences[worst] <= tolerance:
        raise InputError(
            f'{name}: the exported model differs from the original by {differences[worst]:.2g} with input {worst} '
            f'({tolerance} is allowed); the file must not be used'
        )
    return differences


def _inputs(
    size: tuple[int, int], dynamic: Sequence[str]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Iterate over batches of images (B, 3, H, W), partly padded, and their sizes (B, 2)."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    shapes = [(2 if 'batch' in dynamic else 1, height, width)]
    shapes.append(
        (
            3 if 'batch' in dynamic else 1,
            height + 64 if 'height' in dynamic else height,
            width - 32 if 'width' in dynamic and width > 128 else width,
        )
    )
    if 'batch' in dynamic:
        shapes.append((1, height, width))
    for batch, h, w in shapes:
        sizes = torch.tensor([[h, w], [h * 3 // 4, w], [h, w * 2 // 3]])[:batch]
        images = torch.randn(batch, 3, h, w, generator=generator)
        for image, (rows, columns) in zip(images, sizes.tolist()):
            image[:, rows:] = 0
            image[:, :, columns:] = 0
        yield images, sizes


def difference(
    expected: Tensors, actual: Tensors, side: int, tolerance: float = TOLERANCES['float32']
) -> float:
    """Return the largest difference of two models' outputs, boxes in pixels as a share of ``side``.

    Results of set prediction may come in another order where scores are equal but for rounding. So each expected
    detection is compared with its nearest one of the same label; the last one's equals may have been cut off.
    """
    if 'labels' not in expected:
        scale = {'boxes': side if 'scores' in expected else 1}
        return max(
            float(np.abs(expected[name] - actual[name]).max()) / scale.get(name, 1)
            for name in expected
        )
    worst = float(np.abs(expected['scores'] - actual['scores']).max())
    for image in range(len(expected['scores'])):
        one, other = (
            {name: values[image] for name, values in results.items()}
            for results in (expected, actual)
        )
        apart = np.abs(one['boxes'][:, None] - other['boxes']).max(-1) / side
        apart = np.maximum(apart, np.abs(one['scores'][:, None] - other['scores']))
        apart[one['labels'][:, None] != other['labels']] = np.inf
        nearest = apart.min(1)
        if 'attention' in one:
            found = other['attention'][apart.argmin(1)]
            nearest = np.maximum(nearest, np.abs(one['attention'] - found).max((1, 2)))
        is_cut = one['scores'] <= one['scores'][-1] + tolerance
        worst = max(worst, float(np.where(is_cut, 0, nearest).max()))
    return worst
