"""What the encoder proposes in two-stage detectors."""

from dataclasses import dataclass

from torch import Tensor

from .group import Assigner


@dataclass
class Proposals:
    """Boxes that the encoder proposes, from the best of which the M matching queries start.

    Attributes:
        logits (Tensor): Of those that are trained, (B, N, K).
        boxes (Tensor): Of the same, (cx, cy, w, h) in [0, 1], (B, N, 4).
        is_binary (bool): Whether all tokens are trained, N = S, to tell gts of whatever class from background, by the
            first logit (Deformable DETR). False: they are to tell the class.
        assigner (Assigner, optional): Which gt each token is trained on, N = S. None: the assigner of the head decides,
            and of proposals that tell the class only the best are trained, N = M (DINO).
    """

    logits: Tensor
    boxes: Tensor
    is_binary: bool
    assigner: Assigner | None = None

    @property
    def are_like_queries(self) -> bool:
        """bool: Whether they are matched as the matching queries are: as many, by the same assigner, with classes."""
        return self.assigner is None and not self.is_binary
