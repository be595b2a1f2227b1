"""What the encoder proposes in two-stage detectors."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Proposals:
    """Boxes that the encoder proposes, from the best of which the M matching queries start.

    Attributes:
        logits (Tensor): Of those that are trained, (B, N, K).
        boxes (Tensor): Of the same, (cx, cy, w, h) in [0, 1], (B, N, 4).
        is_binary (bool): Whether all tokens are trained, N = S, to tell gts of whatever class from background, by the
            first logit (Deformable DETR). False: the best are trained, N = M, to tell the class (DINO).
    """

    logits: Tensor
    boxes: Tensor
    is_binary: bool
