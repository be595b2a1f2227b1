"""Rows "backbone" and "backbone-growth": CrossFormer-S, forward and training, against the code of its authors."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmdet_setdet.registry import MODELS

from .machine import count_operations, matrix_products
from .models import perturb_weights
from .options import Options
from .peers.checkouts import find_checkout
from .peers.crossformer_authors import CLASSIFICATION, DETECTION, build_crossformer, stage_maps
from .timing import Case, Contender, max_abs_diff

SIZES = ((4, 224, 224), (1, 800, 1216))  # images, height, width
SIDES = (224, 448, 672, 896, 1120, 1344)


def cases(options: Options) -> Iterator[Case]:
    """Yield four images of a classifier's size and one of a detector's."""
    sizes = SIZES
    if options.size or options.batch_size:
        height, width = options.size or (224, 224)
        sizes = [(options.batch_size or 1, height, width)]
    for size in sizes:
        for training in (False, True):
            yield _case(options, size, training)


def growth_cases(options: Options) -> Iterator[Case]:
    """Yield one image of growing size."""
    for side in [options.size[0]] if options.size else SIDES:
        size = (options.batch_size or 1, side, side)
        for training in (False, True):
            yield _case(options, size, training, at=('area', side**2 / 1e6))


def _case(
    options: Options,
    size: tuple[int, int, int],
    training: bool,
    at: tuple[str, float] | None = None,
) -> Case:
    """Return ours against the authors' code and against matrix products of as many operations."""
    images, height, width = size
    generator = torch.Generator().manual_seed(options.seed)
    x = torch.randn(images, 3, height, width, generator=generator).to(options.device)
    arch = options.model.get('arch', 'small')
    torch.manual_seed(options.seed)
    ours = MODELS.build(dict(type='CrossFormer', arch=arch))
    perturb_weights(ours, options.seed)
    peers = []
    if find_checkout('crossformer') is not None:
        # Where their code for images of one size is sufficient, it is the faster one.
        form = CLASSIFICATION if height == width == 224 else DETECTION
        authors = build_crossformer(arch, form)
        authors.load_state_dict(ours.state_dict(), strict=False)
        peers.append(contender("authors'", authors, x, training, options))
    ours.to(options.device)
    operations = count_operations(lambda: ours(x)) * (3 if training else 1)
    peers.append(matrix_products(operations, options))
    mode = 'training' if training else 'forward'
    return Case(
        f'CrossFormer {arch} {images} x {height}x{width}, {mode}, {operations / 1e9:.0f} GFLOP',
        ours=contender('ours', ours, x, training, options),
        peers=peers,
        compare=max_abs_diff,
        memory=True,
        at=at,
    )


def contender(
    name: str, model: nn.Module, x: Tensor, training: bool, options: Options
) -> Contender:
    """Compute the maps of all stages; in training the gradients of all parameters but those of a classifier."""
    model.to(options.device)
    parameters = dict(sorted(model.named_parameters()))
    of_maps = [value for key, value in parameters.items() if not key.startswith(('head.', 'norm.'))]

    def infer() -> list[Tensor]:
        model.eval()
        with torch.no_grad(), options.precision():
            return stage_maps(model, x)

    def gradients() -> tuple[Tensor, ...]:
        with options.precision():
            loss = sum(stage.float().square().mean() for stage in stage_maps(model, x))
        return torch.autograd.grad(loss, of_maps)

    def train() -> tuple[Tensor, ...]:
        model.train()
        return gradients()

    def gradients_without_dropout() -> tuple[Tensor, ...]:
        model.eval()
        return gradients()

    return (
        Contender(name, train, gradients_without_dropout)
        if training
        else Contender(name, infer, infer)
    )
