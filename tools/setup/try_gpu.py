"""Compute on each GPU; run by the environment's Python at the end of the set-up: ``try_gpu.py [--ops]``.

Prints a line for each card. Exits with 1 and the reason on standard error if one cannot be used.
"""

import sys

import torch
from mmcv.ops import nms

from mmdet_setdet.engine.devices import gpu_problem, has_kernels


def try_torch(index: int) -> None:
    """Compare a convolution and a matrix product with the CPU's."""
    image = torch.rand(1, 3, 32, 32)
    weight = torch.rand(8, 3, 3, 3)

    def compute(device: str) -> torch.Tensor:
        maps = torch.conv2d(image.to(device), weight.to(device)).flatten(1)
        return (maps @ maps.T).cpu()

    torch.testing.assert_close(compute(f'cuda:{index}'), compute('cpu'), rtol=1e-2, atol=0)


def try_ops(index: int) -> None:
    """Compare mmcv's NMS with the CPU's: of two boxes on each other, the better one stays."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    with torch.cuda.device(index):
        _, kept = nms(boxes.cuda(), scores.cuda(), iou_threshold=0.5)
    if kept.tolist() != [0, 2]:
        raise RuntimeError(f"mmcv's NMS keeps the boxes {kept.tolist()} in place of [0, 2]")


def try_card(index: int, with_ops: bool) -> str:
    """Compute on one card.

    Returns:
        str: What works.

    Raises:
        AssertionError: A result is wrong.
        RuntimeError: Something cannot be computed at all.
    """
    if not has_kernels(index):
        return 'cannot be used: this build of torch has no kernels for it'
    try_torch(index)
    if not with_ops:
        return 'torch computes'
    try_ops(index)
    return "torch and mmcv's NMS compute"


def main() -> int:
    """Try all cards; return the exit status."""
    if not torch.cuda.is_available():
        reason = gpu_problem() or f'torch {torch.__version__} sees no GPU'
        print(reason, file=sys.stderr)
        return 1
    for index in range(torch.cuda.device_count()):
        card = f'GPU {index}, {torch.cuda.get_device_name(index)}'
        try:
            print(f'{card}: {try_card(index, "--ops" in sys.argv)}')
        except (AssertionError, RuntimeError) as error:
            print(f'{card}: {error}', file=sys.stderr)
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
