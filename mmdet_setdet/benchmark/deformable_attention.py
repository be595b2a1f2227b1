"""Row "deformable-attention": sampling and weighted sum of one layer in torch, ours against mmcv's torch path.

What else the module does, four linear layers and a softmax, is the same on both sides.
"""
from collections.abc import Callable, Iterator

import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from torch import Tensor

from ..models.layers.fast.deformable_sampling import sample_by_embedding_bag
from .options import Options
from .timing import Case, Contender, max_abs_diff

HEADS, WIDTH, POINTS = 8, 32, 4
DECODER_QUERIES = 300


def cases(options: Options) -> Iterator[Case]:
    """Encoder (each token is a query) and decoder, batch 2, forward alone and with backward."""
    batch_size = options.batch_size or 2
    for height, width in [options.size] if options.size else [(480, 640), (800, 1066)]:
        shapes = [(-(-height // stride), -(-width // stride)) for stride in (8, 16, 32, 64)]
        tokens = sum(h * w for h, w in shapes)
        for part, queries in (('encoder', tokens), ('decoder', DECODER_QUERIES)):
            generator = torch.Generator().manual_seed(options.seed)
            size = torch.tensor([(w, h) for h, w in shapes])[:, None]
            centres = torch.rand(batch_size, queries, 1, 1, 1, 2, generator=generator)
            if part == 'encoder':
                centres = pixel_centres(shapes)[:, None, None, None]
            drift = torch.randn(batch_size, queries, HEADS, len(shapes), POINTS, 2, generator=generator) * 3
            points = centres + drift / size
            weights = torch.rand(points.shape[:-1], generator=generator) / (len(shapes) * POINTS)
            value = torch.randn(batch_size, tokens, HEADS, WIDTH, generator=generator)
            value, points, weights, size = (x.to(options.device) for x in (value, points, weights, size))
            shapes_tensor = torch.tensor(shapes, device=options.device)

            # Each side takes points in its own unit, as its module computes them.
            def ours(value: Tensor, pixels: Tensor, weights: Tensor, shapes=shapes) -> Tensor:
                return sample_by_embedding_bag(value, shapes, pixels, weights)

            def mmcvs(value: Tensor, points: Tensor, weights: Tensor, shapes=shapes_tensor) -> Tensor:
                return multi_scale_deformable_attn_pytorch(value, shapes, points, weights)

            for backward in (False, True):
                name = f'{part}, {batch_size} x {height}x{width}, {"forward + backward" if backward else "forward"}'
                yield Case(name, contender('ours', ours, (value, points * size - 0.5, weights), backward),
                           [contender('mmcv', mmcvs, (value, points, weights), backward)], max_abs_diff, memory=True)


def pixel_centres(shapes: list[tuple[int, int]]) -> Tensor:
    """(x, y) in [0, 1] of every pixel of every level, (S, 2)."""
    return torch.cat([
        torch.cartesian_prod((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w).flip(-1) for h, w in shapes
    ])


def contender(name: str, sampled: Callable[..., Tensor], inputs: tuple[Tensor, ...], backward: bool) -> Contender:
    """Runs ``sampled`` on the inputs, and with ``backward`` computes the gradients in all of them."""
    inputs = [x.detach().requires_grad_(backward) for x in inputs]

    def run() -> Tensor:
        with torch.set_grad_enabled(backward):
            output = sampled(*inputs)
        if backward:
            torch.autograd.grad(output.sum(), inputs)
        return output.detach()

    return Contender(name, run, lambda: [run()])
