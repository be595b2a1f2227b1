"""Row "deformable-attention": sampling and weighted sum of one layer in torch, ours against mmcv's torch path.

The rest of the module, four linear layers and a softmax, is the same on both sides.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from torch import Tensor

from mmdet_setdet.models.layers.fast.deformable_sampling import sample_by_embedding_bag

from .options import Options
from .timing import Case, Contender, max_abs_diff

HEADS = 8
WIDTH = 32  # channels per head
POINTS = 4  # per head and level
STRIDES = (8, 16, 32, 64)
DECODER_QUERIES = 300
SIZES = ((480, 640), (800, 1066))
Shapes = list[tuple[int, int]]


def cases(options: Options) -> Iterator[Case]:
    """Yield encoder (every token is a query) and decoder, batch 2, forward alone and with backward."""
    batch_size = options.batch_size or 2
    for height, width in [options.size] if options.size else SIZES:
        shapes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
        for part in ('encoder', 'decoder'):
            inputs = random_inputs(part, batch_size, shapes, options)
            for backward in (False, True):
                passes = 'forward + backward' if backward else 'forward'
                yield Case(
                    f'{part}, {batch_size} x {height}x{width}, {passes}',
                    ours=inputs.ours(backward),
                    peers=[inputs.mmcvs(backward)],
                    compare=max_abs_diff,
                    memory=True,
                )


@dataclass
class SamplingInputs:
    """Inputs of the sampling, and the two contenders on them.

    Attributes:
        shapes (list[tuple[int, int]]): Height and width per level.
        value (Tensor): (B, S, heads, C).
        points (Tensor): (x, y) in [0, 1] of each level's map, (B, Q, heads, L, points, 2).
        weights (Tensor): (B, Q, heads, L, points).
    """

    shapes: Shapes
    value: Tensor
    points: Tensor
    weights: Tensor

    def ours(self, backward: bool) -> Contender:
        """Return our sampling, which expects points in pixels, as our module computes them."""

        def sample(value: Tensor, pixels: Tensor, weights: Tensor) -> Tensor:
            return sample_by_embedding_bag(value, self.shapes, pixels, weights)

        pixels = self.points * level_sizes(self.shapes).to(self.points.device) - 0.5
        return contender('ours', sample, (self.value, pixels, self.weights), backward)

    def mmcvs(self, backward: bool) -> Contender:
        """Return mmcv's sampling, which expects points in [0, 1]."""
        shapes = torch.tensor(self.shapes, device=self.value.device)

        def sample(value: Tensor, points: Tensor, weights: Tensor) -> Tensor:
            return multi_scale_deformable_attn_pytorch(value, shapes, points, weights)

        return contender('mmcv', sample, (self.value, self.points, self.weights), backward)


def random_inputs(part: str, batch_size: int, shapes: Shapes, options: Options) -> SamplingInputs:
    """Draw points about three pixels from the queries' centres, and random values and weights."""
    generator = torch.Generator().manual_seed(options.seed)
    tokens = sum(height * width for height, width in shapes)
    queries = tokens if part == 'encoder' else DECODER_QUERIES
    centres = torch.rand(batch_size, queries, 1, 1, 1, 2, generator=generator)
    if part == 'encoder':
        centres = pixel_centres(shapes)[:, None, None, None]
    offsets = (
        torch.randn(batch_size, queries, HEADS, len(shapes), POINTS, 2, generator=generator) * 3
    )
    points = centres + offsets / level_sizes(shapes)
    weights = torch.rand(points.shape[:-1], generator=generator) / (len(shapes) * POINTS)
    value = torch.randn(batch_size, tokens, HEADS, WIDTH, generator=generator)
    device = options.device
    return SamplingInputs(shapes, value.to(device), points.to(device), weights.to(device))


def level_sizes(shapes: Shapes) -> Tensor:
    """Return (width, height) per level, (L, 1, 2)."""
    return torch.tensor(shapes).flip(-1)[:, None]


def pixel_centres(shapes: Shapes) -> Tensor:
    """Return (x, y) in [0, 1] of every pixel of every level, (S, 2)."""
    centres = []
    for height, width in shapes:
        y = (torch.arange(height) + 0.5) / height
        x = (torch.arange(width) + 0.5) / width
        centres.append(torch.cartesian_prod(y, x).flip(-1))
    return torch.cat(centres)


def contender(
    name: str, sample: Callable[..., Tensor], inputs: tuple[Tensor, ...], backward: bool
) -> Contender:
    """Return a contender that calls ``sample`` and, with ``backward``, computes the gradients of all inputs."""
    inputs = [tensor.detach().requires_grad_(backward) for tensor in inputs]

    def run() -> Tensor:
        with torch.set_grad_enabled(backward):
            output = sample(*inputs)
        if backward:
            torch.autograd.grad(output.sum(), inputs)
        return output.detach()

    return Contender(name, run, lambda: [run()])
