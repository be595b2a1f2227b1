"""Boxes before and after the sigmoid."""
from torch import Tensor


def inverse_sigmoid(x: Tensor, eps: float = 1e-3) -> Tensor:
    """The logit of x in [0, 1], with x and 1 - x kept at ``eps`` at least; computed and returned in float32.

    DETR's descendants disagree on eps: 1e-3 in DN-DETR and DAB-DETR, 1e-5 in Deformable DETR and in parts of mmdet.
    """
    x = x.float()
    return x.clamp(eps, 1).log() - (1 - x).clamp(eps, 1).log()
