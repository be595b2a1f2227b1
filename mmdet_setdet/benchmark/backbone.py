"""Rows "backbone" and "backbone-growth": CrossFormer-S, forward and training, against the code of its authors."""
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..registry import MODELS
from . import authors_crossformer
from .models import wake
from .options import Options
from .timing import Case, Contender, max_abs_diff

SIZES = ((4, 224, 224), (1, 800, 1216))
SIDES = (224, 448, 672, 896, 1120, 1344)
MATRIX = 2048  # rows and columns of matrices whose product runs at the machine's full rate


def cases(options: Options) -> Iterator[Case]:
    """Four images of a classifier's size and one of a detector's."""
    sizes = SIZES
    if options.size or options.batch_size:
        sizes = [(options.batch_size or 1, *(options.size or (224, 224)))]
    for size in sizes:
        for training in (False, True):
            yield _case(options, size, training)


def growth_cases(options: Options) -> Iterator[Case]:
    """One image of growing size."""
    for side in [options.size[0]] if options.size else SIDES:
        for training in (False, True):
            yield _case(options, (options.batch_size or 1, side, side), training, ('area', side**2 / 1e6))


def _case(options: Options, size: tuple[int, int, int], training: bool, at: tuple[str, float] | None = None) -> Case:
    """With matrix products of as many operations as a peer: that ratio is the share of the machine's matrix rate."""
    images, height, width = size
    x = torch.randn(images, 3, height, width, generator=torch.Generator().manual_seed(options.seed)).to(options.device)
    arch = options.model.get('arch', 'small')
    torch.manual_seed(options.seed)
    ours = MODELS.build(dict(type='CrossFormer', arch=arch))
    wake(ours, options.seed)
    peers = []
    if authors_crossformer.checkout() is not None:
        # Where their code for images of one size is enough, it is the faster one.
        square = height == width == 224
        theirs = authors_crossformer.build(
            arch, authors_crossformer.CLASSIFICATION if square else authors_crossformer.DETECTION)
        theirs.load_state_dict(ours.state_dict(), strict=False)
        peers.append(_contender("authors'", theirs, x, training, options))
    with FlopCounterMode(display=False) as counter:  # with a graph: it does not see a CPU's fused attention
        ours.to(options.device)(x)
    operations = counter.get_total_flops() * (3 if training else 1)
    peers.append(_matrix_products(operations, options))
    what = f'{"training" if training else "forward"}, {operations / 1e9:.0f} GFLOP'
    return Case(f'CrossFormer {arch} {images} x {height}x{width}, {what}',
                _contender('ours', ours, x, training, options), peers, max_abs_diff, memory=True, at=at)


def _contender(name: str, model: nn.Module, x: Tensor, training: bool, options: Options) -> Contender:
    """Maps of all stages without gradients; or with them, and gradients of all parameters but a classifier's."""
    model.to(options.device)
    parameters = [(key, value) for key, value in model.named_parameters() if not key.startswith(('head.', 'norm.'))]
    gradients = [value for _, value in sorted(parameters)]

    def infer() -> list[Tensor]:
        with torch.no_grad(), options.precision():
            return authors_crossformer.stage_maps(model.eval(), x)

    def differentiate() -> list[Tensor]:
        with options.precision():
            loss = sum(stage.float().square().mean() for stage in authors_crossformer.stage_maps(model, x))
        return torch.autograd.grad(loss, gradients)

    if training:
        return Contender(name, lambda: (model.train(), differentiate()), lambda: (model.eval(), differentiate())[1])
    return Contender(name, infer, infer)


def _matrix_products(operations: int, options: Options) -> Contender:
    """As many floating point operations in matrices that suit the machine best, a quarter of a gigaflop or more."""
    rows = max(operations // (2 * MATRIX**2), 1)
    left, right = (torch.randn(count, MATRIX, device=options.device) for count in (rows, MATRIX))

    def multiply() -> Tensor:
        with torch.no_grad(), options.precision():
            return left @ right

    return Contender('matrix products', multiply)
