"""What it costs to pair a dense detector's predictions with ground truths (OTA, section 3.2)."""

import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from ...errors import InputError
from .base import require_at_least_one

SCORE_FORMS = ('logits', 'probabilities', 'square_roots')


class DenseCosts:
    """Costs and centre prior of OTA; the arguments are those of :class:`OTAAssigner`.

    Raises:
        InputError: An option is out of range.
    """

    def __init__(
        self,
        score_form: str,
        center_radius: float | None,
        nearest: int | None,
        iou_weight: float,
        focal_alpha: float,
        focal_gamma: float,
    ) -> None:
        if score_form not in SCORE_FORMS:
            raise InputError(
                f'{type(self).__name__}: score_form={score_form!r} is not one of {list(SCORE_FORMS)}'
            )
        require_at_least_one(self, nearest=nearest)
        self.score_form = score_form
        self.center_radius = center_radius
        self.nearest = nearest
        self.iou_weight = iou_weight
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma

    def center_prior(self, priors: Tensor, gt_bboxes: Tensor) -> Tensor:
        """Return which predictions are near each ground truth.

        Args:
            priors (Tensor): See :meth:`assign_batch`, (N, 4).
            gt_bboxes (Tensor): Boxes (x1, y1, x2, y2) in pixels, (B, G, 4).

        Returns:
            Tensor: Bool, (B, G, N).
        """
        x, y, stride_x, stride_y = priors.unbind(-1)
        left, top, right, bottom = gt_bboxes[..., None, :].unbind(-1)
        is_near = (x - left > 0.01) & (right - x > 0.01)
        is_near &= (y - top > 0.01) & (bottom - y > 0.01)
        center_x = (left + right) / 2
        center_y = (top + bottom) / 2
        if self.nearest is not None:
            distance = (x - center_x).square_()
            distance += (y - center_y).square_()
            is_near &= self._nearest_of_levels(distance, stride_x)
        elif self.center_radius is not None:
            reach_x = self.center_radius * stride_x
            reach_y = self.center_radius * stride_y
            is_near &= (x > center_x - reach_x) & (x < center_x + reach_x)
            is_near &= (y > center_y - reach_y) & (y < center_y + reach_y)
        return is_near

    def _nearest_of_levels(self, distance: Tensor, strides: Tensor) -> Tensor:
        """Mark the r * r nearest predictions of each level, (B, G, N); a level is all that have the same stride."""
        is_nearest = torch.zeros_like(distance, dtype=torch.bool)
        # The host reads the device once, to know how many predictions a level has.
        host_strides = strides.cpu()
        for stride in host_strides.unique():
            level = (host_strides == stride).nonzero()[:, 0]
            level = level.to(strides.device, non_blocking=True)
            count = min(self.nearest**2, len(level))
            nearest = distance[..., level].topk(count, largest=False).indices
            is_nearest.scatter_(2, level[nearest], True)
        return is_nearest

    def costs(
        self, scores: Tensor, bboxes: Tensor, labels: Tensor, gt_bboxes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the costs of M predictions and their IoU with the ground truths.

        Args:
            scores (Tensor): Scores in the form ``score_form``, (b, M, K).
            bboxes (Tensor): Predicted boxes (x1, y1, x2, y2) in pixels, (b, M, 4).
            labels (Tensor): Classes of the ground truths, (b, G).
            gt_bboxes (Tensor): Boxes of the ground truths in pixels, (b, G, 4).

        Returns:
            tuple[Tensor, Tensor, Tensor]: Costs of the pairs (b, G, M), costs of the background (b, M) and IoU
            (b, G, M), all float32.
        """
        logits = self._logits(scores.float())
        background = self._focal(logits, 1 - self.focal_alpha).sum(-1)
        # A ground truth differs from the background in the loss of its own class.
        index = labels[:, None].expand(-1, logits.shape[1], -1)
        own = logits.gather(2, index).transpose(1, 2).contiguous()
        positive = self._focal(-own, self.focal_alpha)
        negative = self._focal(own, 1 - self.focal_alpha)
        pair_costs = positive - negative + background[:, None]
        ious = bbox_overlaps(gt_bboxes, bboxes.float())
        log_ious = ious.clamp(min=torch.finfo(ious.dtype).eps).log_()
        pair_costs -= log_ious.mul_(self.iou_weight)
        return pair_costs, background, ious

    def _logits(self, scores: Tensor) -> Tensor:
        """Convert scores of any ``score_form`` to logits."""
        if self.score_form == 'logits':
            return scores
        if self.score_form == 'square_roots':
            scores = scores.square()
        return scores.logit(1e-6)

    def _focal(self, logits: Tensor, weight: float) -> Tensor:
        """Return the focal loss for a target of 0; with ``-logits`` it is the loss for a target of 1."""
        modulation = logits.sigmoid().pow_(self.focal_gamma)
        return modulation.mul_(F.softplus(logits)).mul_(weight)
