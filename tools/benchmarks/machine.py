"""What the machine could do at best: matrix products of as many operations as a computation takes."""

from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmdet_setdet.models.layers.fast import linear

from .options import Options
from .timing import Contender

MATRIX = 2048  # rows and columns of matrices whose product runs at the machine's full rate


def count_operations(run: Callable) -> int:
    """Return the floating point operations of one call, 2 for a multiplication and an addition."""
    # The counter does not see a CPU's fused attention.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()


def matrix_products(operations: int, options: Options) -> Contender:
    """Multiply matrices that suit the machine best, in as many operations (at least 8 million).

    The ratio to it is the share of the machine's matrix rate that ours reaches.
    """
    rows = max(operations // (2 * MATRIX**2), 1)
    kind = dict(device=options.device, dtype=options.torch_dtype)
    left = torch.randn(MATRIX, MATRIX, **kind)
    right = torch.randn(MATRIX, MATRIX, **kind)

    def multiply() -> None:
        with torch.no_grad():
            for start in range(0, rows, MATRIX):
                linear(left[: rows - start], right)

    return Contender('matrix products', multiply)
