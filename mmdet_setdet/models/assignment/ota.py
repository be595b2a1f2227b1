"""OTA: the label assignment of a dense detector as optimal transport (Ge et al., arXiv 2103.14259)."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...registry import TASK_UTILS
from .optimal_transport import decode, sinkhorn, with_background

# Added to the cost of a pair that the centre prior rules out, as in the authors' code. It keeps such a pair out of the
# plan, unless the object has no other: then the pairs compare by the rest of their costs.
FORBIDDEN = 1e6
SCORE_FORMS = {
    'logits': lambda scores: scores,
    'probabilities': lambda scores: scores.logit(1e-6),
    'square_roots': lambda scores: scores.square().logit(1e-6),
}
SOLVERS = ('sinkhorn', 'topk')


@dataclass
class Assignment:
    """Who answers for whom in a batch of B images with N predictions each and up to G objects.

    Attributes:
        gt_inds (Tensor): 0 for background, else the object's index plus one, long, (B, N).
        labels (Tensor): The object's class, -1 for background, long, (B, N).
        bboxes (Tensor): The object's box (x1, y1, x2, y2) in pixels, 0 for background, float32, (B, N, 4).
        overlaps (Tensor): IoU of the predicted box with the object's, 0 for background, float32, (B, N).
        costs (Tensor): The cost of the pair, 0 for background, float32, (B, N).
        k (Tensor): Predictions that each object was to get, long, (B, G); 0 where padded.
        error (Tensor): How far the transport was from converged, see :class:`Transport`, (B, ).
    """
    gt_inds: Tensor
    labels: Tensor
    bboxes: Tensor
    overlaps: Tensor
    costs: Tensor
    k: Tensor
    error: Tensor


@TASK_UTILS.register_module()
class OTAAssigner(BaseAssigner):
    """Assigns predictions to objects by the cheapest transport: k units from each object, the rest from the background.

    :meth:`assign` is mmdet's interface for one image: the class takes the place of ``SimOTAAssigner`` in YOLOX and of
    ``DynamicSoftLabelAssigner`` in RTMDet. :meth:`assign_batch` solves all images of a step at once.

    The defaults are the authors' settings. A pair whose cost is NaN or infinite is never assigned, and the first time a
    warning says where it came from.

    Args:
        score_form (str): What the head hands over as scores: 'logits' (RTMDet), 'probabilities', or 'square_roots' of
            probabilities (YOLOX: the root of class times objectness).
        solver (str): 'sinkhorn', or 'topk' for SimOTA's short cut: each object takes its k cheapest predictions, and
            one that several take goes to the cheapest of them.
        k (int, optional): Predictions an object gets. None estimates it: the sum of its ``top_q`` largest IoU, rounded
            down, at least 1 (dynamic k).
        top_q (int): See ``k``.
        center_radius (float, optional): An object takes predictions whose centre lies in its box and within so many
            strides of its centre. None allows the whole box.
        nearest (int, optional): r, instead of ``center_radius``: the r * r nearest predictions of each level, within
            the box (the paper's centre prior, r = 5).
        iou_weight (float): Weight of -log(IoU) against the focal classification loss (the paper's alpha).
        focal_alpha (float): Weight of positives in the focal loss.
        focal_gamma (float): Exponent of the focal loss.
        eps (float): See :func:`sinkhorn`, and so the next two.
        iterations (int): At most so many.
        tolerance (float): Where to stop early.

    Raises:
        ValueError: An option has a value that means nothing.
    """

    def __init__(self,
                 score_form: str = 'logits',
                 solver: str = 'sinkhorn',
                 k: int | None = None,
                 top_q: int = 20,
                 center_radius: float | None = 2.5,
                 nearest: int | None = None,
                 iou_weight: float = 1.5,
                 focal_alpha: float = 0.25,
                 focal_gamma: float = 2.,
                 eps: float = 0.1,
                 iterations: int = 50,
                 tolerance: float = 1e-5) -> None:
        for name, value, known in (('score_form', score_form, SCORE_FORMS), ('solver', solver, SOLVERS)):
            if value not in known:
                raise ValueError(f'OTAAssigner: {name}={value!r} is not one of {list(known)}')
        for name, value in dict(k=1 if k is None else k, top_q=top_q, iterations=iterations,
                                nearest=1 if nearest is None else nearest).items():
            if value < 1:
                raise ValueError(f'OTAAssigner: {name}={value} must be 1 or more')
        if eps <= 0:
            raise ValueError(f'OTAAssigner: eps={eps} must be above 0; 0 would be the exact plan, see exact_transport')
        self.to_logits = SCORE_FORMS[score_form]
        self.solver, self.k, self.top_q = solver, k, top_q
        self.center_radius, self.nearest = center_radius, nearest
        self.iou_weight, self.focal_alpha, self.focal_gamma = iou_weight, focal_alpha, focal_gamma
        self.eps, self.iterations, self.tolerance = eps, iterations, tolerance
        self._warned = False

    def assign(self,
               pred_instances: InstanceData,
               gt_instances: InstanceData,
               gt_instances_ignore: InstanceData | None = None,
               **kwargs) -> AssignResult:
        """mmdet's interface: one image.

        Args:
            pred_instances (InstanceData): ``scores`` (N, K) in the form that ``score_form`` says, ``bboxes`` in pixels
                (N, 4) and ``priors`` (N, 4), see :meth:`assign_batch`.
            gt_instances (InstanceData): Objects with ``bboxes`` (G, 4) and ``labels`` (G, ).
            gt_instances_ignore (InstanceData, optional): Not read, as in the assigners whose place it takes.

        Returns:
            AssignResult: ``gt_inds`` is 0 for background, else the object's index plus one; ``labels`` is -1 and
            ``max_overlaps`` 0 for background.
        """
        found = self.assign_batch(pred_instances.scores[None], pred_instances.bboxes[None], pred_instances.priors,
                                  [gt_instances])
        return AssignResult(len(gt_instances), found.gt_inds[0], found.overlaps[0], found.labels[0])

    @torch.no_grad()
    def assign_batch(self, scores: Tensor, bboxes: Tensor, priors: Tensor, batch_gt_instances: list[InstanceData],
                     batch_img_metas: list[dict] | None = None) -> Assignment:
        """All images of a step at once.

        Args:
            scores (Tensor): Scores in the form that ``score_form`` says, (B, N, K).
            bboxes (Tensor): Predicted boxes (x1, y1, x2, y2) in pixels, (B, N, 4).
            priors (Tensor): Where the predictions stand, (N, 4): x, y and the level's stride in x and y, in pixels, as
                mmdet's ``MlvlPointGenerator.grid_priors(..., with_stride=True)`` gives them.
            batch_gt_instances (list[InstanceData]): Objects of each image, ``bboxes`` in pixels and ``labels``.
            batch_img_metas (list[dict], optional): Meta information of the images, to name them in messages.

        Returns:
            Assignment: On the device of the predictions, which is waited for twice.

        Raises:
            ValueError: The priors are no points with strides.
            FloatingPointError: No cost of an image with objects is finite.
        """
        if priors.dim() != 2 or priors.shape[1] != 4:
            raise ValueError(f'OTAAssigner: priors are {tuple(priors.shape)} but must be (N, 4): x, y, stride, stride; '
                             'give the prior generator with_stride=True')
        labels = pad_sequence([gts.labels for gts in batch_gt_instances], batch_first=True)
        gt_bboxes = pad_sequence([get_box_tensor(gts.bboxes).float() for gts in batch_gt_instances], batch_first=True)
        counts = torch.tensor([len(gts) for gts in batch_gt_instances]).to(labels.device, non_blocking=True)
        is_object = torch.arange(labels.shape[1], device=labels.device) < counts[:, None]
        num_images, num_preds, num_gts = *scores.shape[:2], labels.shape[1]
        # One cell more than there are predictions takes what is written for padding.
        gt_inds = labels.new_zeros(num_images * num_preds + 1)
        overlaps, costs = gt_bboxes.new_zeros(2, len(gt_inds))
        k, error = torch.zeros_like(labels), gt_bboxes.new_zeros(num_images)
        if num_gts and num_preds:
            inside = self.center_prior(priors.float(), gt_bboxes) & is_object[..., None]
            # An object that no prediction stands in may take any.
            is_lonely = is_object & ~inside.any(-1)
            allowed = inside | is_lonely[..., None]
            for images, columns in _groups(allowed.any(1), is_lonely.any(1)):
                is_real = columns < num_preds
                cells = torch.where(is_real, columns + images[:, None] * num_preds, len(gt_inds) - 1)
                at = cells.clamp(max=len(gt_inds) - 2)
                pairs, background, ious = self.costs(
                    scores.flatten(0, 1)[at], bboxes.flatten(0, 1)[at], labels[images], gt_bboxes[images])
                columns = columns.clamp(max=num_preds - 1)[:, None].expand(-1, num_gts, -1)
                problem = _Problem(pairs, background, ious, is_object[images], is_real,
                                   inside[images].gather(2, columns), allowed[images].gather(2, columns))
                self._check(problem, images, batch_img_metas)
                k[images] = self._units(problem)
                supplier, error[images] = self._solve(problem, k[images], num_preds)
                pair = supplier[:, None].clamp(max=num_gts - 1)
                kept = (supplier < num_gts) & problem.usable.gather(1, pair)[:, 0]
                gt_inds[cells] = (supplier + 1) * kept
                overlaps[cells] = torch.where(kept, ious.gather(1, pair)[:, 0], 0)
                costs[cells] = torch.where(kept, pairs.gather(1, pair)[:, 0], 0)
        gt_inds, overlaps, costs = (flat[:-1].view(num_images, num_preds) for flat in (gt_inds, overlaps, costs))
        return Assignment(
            gt_inds=gt_inds,
            labels=F.pad(labels, (1, 0), value=-1).gather(1, gt_inds),
            bboxes=F.pad(gt_bboxes, (0, 0, 1, 0)).gather(1, gt_inds[..., None].expand(-1, -1, 4)),
            overlaps=overlaps, costs=costs, k=k, error=error)

    def center_prior(self, priors: Tensor, gt_bboxes: Tensor) -> Tensor:
        """Which predictions an object may take: bool (B, G, N) of priors (N, 4) and boxes (B, G, 4) in pixels."""
        x, y, stride_x, stride_y = priors.unbind(-1)
        left, top, right, bottom = gt_bboxes[..., None, :].unbind(-1)
        inside = (x - left > 0.01) & (y - top > 0.01) & (right - x > 0.01) & (bottom - y > 0.01)
        center_x, center_y = (left + right) / 2, (top + bottom) / 2
        if self.nearest is not None:
            distance = (x - center_x).square_().add_((y - center_y).square_())
            near = torch.zeros_like(inside)
            for stride in stride_x.unique():
                level = (stride_x == stride).nonzero()[:, 0]
                first = distance[..., level].topk(min(self.nearest**2, len(level)), largest=False).indices
                near.scatter_(2, level[first], True)
            inside &= near
        elif self.center_radius is not None:
            reach_x, reach_y = self.center_radius * stride_x, self.center_radius * stride_y
            inside &= (x > center_x - reach_x) & (x < center_x + reach_x)
            inside &= (y > center_y - reach_y) & (y < center_y + reach_y)
        return inside

    def costs(self, scores: Tensor, bboxes: Tensor, labels: Tensor,
              gt_bboxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Costs of M predictions for each object (b, G, M) and for the background (b, M), and the IoU (b, G, M).

        Scores are (b, M, K) in the form that ``score_form`` says, labels (b, G), boxes in pixels (b, M or G, 4).
        """
        logits = self.to_logits(scores.float())
        background = self._focal(logits, 1 - self.focal_alpha).sum(-1)
        own = logits.gather(2, labels[:, None].expand(-1, logits.shape[1], -1)).transpose(1, 2).contiguous()
        pairs = self._focal(-own, self.focal_alpha) - self._focal(own, 1 - self.focal_alpha) + background[:, None]
        ious = bbox_overlaps(gt_bboxes, bboxes.float())
        pairs -= ious.clamp(min=torch.finfo(ious.dtype).eps).log_().mul_(self.iou_weight)
        return pairs, background, ious

    def _focal(self, logits: Tensor, weight: float) -> Tensor:
        """The focal loss of a score where 0 is right; of ``-logits``, where 1 is right."""
        return logits.sigmoid().pow_(self.focal_gamma).mul_(F.softplus(logits)).mul_(weight)

    def _check(self, problem: '_Problem', images: Tensor, metas: list[dict] | None) -> None:
        """Warns of pairs whose cost is not finite, once; raises if an image has no other."""
        pairs = [(problem.allowed & ~problem.finite).sum((1, 2)), problem.usable.sum((1, 2)), images]
        for bad, usable, image in torch.stack(pairs, 1).tolist():
            name = (metas[image] if metas else {}).get('img_path', f'image {image} of the batch')
            if bad and not usable:
                raise FloatingPointError(
                    f'{name}: no cost between its objects and the predictions near them is finite: the model has '
                    'diverged (lower the learning rate) or the boxes of the image are NaN')
            if bad and not self._warned:
                self._warned = True
                MMLogger.get_current_instance().warning(
                    f'{name}: {bad} of {bad + usable} costs between its objects and the predictions near them are not '
                    'finite; such pairs are never assigned. Said once.')

    def _units(self, problem: '_Problem') -> Tensor:
        """k of each object, long, (b, G); 0 where padded."""
        if self.k is not None:
            return problem.is_object * self.k
        ious = torch.where(problem.inside & problem.usable, problem.ious, 0)
        return dynamic_k(ious, self.top_q) * problem.is_object

    def _solve(self, problem: '_Problem', k: Tensor, num_preds: int) -> tuple[Tensor, Tensor]:
        """The supplier of each of M predictions (b, M), G for the background, and the plan's error (b, )."""
        costs = torch.where(problem.usable, problem.pairs, FORBIDDEN) + FORBIDDEN * ~problem.inside
        if self.solver == 'topk':
            return self._cheapest(costs, problem.usable, k), costs.new_zeros(len(costs))
        # Predictions that no object may take are one more column, which the background serves at any cost.
        others = num_preds - problem.is_real.sum(1, keepdim=True)
        background = torch.where(problem.background.isfinite(), problem.background, 0)
        costs = F.pad(torch.cat([costs, background[:, None]], 1), (0, 1), value=FORBIDDEN)
        costs[:, -1, -1] = 0
        demand = torch.cat([problem.is_real, others], 1).float()
        found = sinkhorn(costs, with_background(k, num_preds), demand, self.eps, self.iterations, self.tolerance)
        return decode(found.plan / demand.clamp(min=1)[:, None])[:, :-1], found.error

    def _cheapest(self, costs: Tensor, usable: Tensor, k: Tensor) -> Tensor:
        """SimOTA's suppliers (b, M): each object takes its k cheapest; the cheapest object keeps what several took."""
        most = min(self.k or self.top_q, costs.shape[-1])
        order = costs.topk(most, largest=False).indices
        taken = torch.zeros_like(usable).scatter_(2, order, torch.arange(most, device=k.device) < k[..., None]) & usable
        takers = taken.sum(1)
        supplier = torch.where(takers > 1, costs.argmin(1), taken.int().argmax(1))
        return torch.where(takers > 0, supplier, costs.shape[1])


def dynamic_k(ious: Tensor, top_q: int) -> Tensor:
    """k of each object (OTA, section 3.3): its ``top_q`` largest IoU (..., N), summed and rounded down, at least 1."""
    return ious.topk(min(top_q, ious.shape[-1])).values.sum(-1).nan_to_num(0.).long().clamp_(min=1)


@dataclass
class _Problem:
    """b images with M predictions that some object may take, padded, and up to G objects.

    Attributes:
        pairs (Tensor): Costs of predictions for objects, (b, G, M).
        background (Tensor): Costs of predictions for the background, (b, M).
        ious (Tensor): IoU of boxes, (b, G, M).
        is_object (Tensor): Objects that are no padding, (b, G).
        is_real (Tensor): Predictions that are no padding, (b, M).
        inside (Tensor): Pairs that the centre prior allows, (b, G, M).
        allowed (Tensor): The same, and all pairs of an object that the prior leaves without any, (b, G, M).
    """
    pairs: Tensor
    background: Tensor
    ious: Tensor
    is_object: Tensor
    is_real: Tensor
    inside: Tensor
    allowed: Tensor

    def __post_init__(self) -> None:
        self.allowed &= self.is_real[:, None]
        self.finite = self.pairs.isfinite() & self.background.isfinite()[:, None]
        self.usable = self.allowed & self.finite


def _groups(wanted: Tensor, is_wide: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Images with anything to assign, those with an object that may take any prediction apart from the others.

    Such an image is some ten times as wide as the others, which would all be padded to it.

    Args:
        wanted (Tensor): Predictions that some object may take, (B, N).
        is_wide (Tensor): Whether an object of the image may take any, (B, ).

    Returns:
        list[tuple]: Indices of images (b, ), and of the wanted predictions of each, padded with N, (b, M).
    """
    sizes = torch.stack([wanted.sum(1), is_wide], 1).tolist()
    groups = []
    for wide in (0, 1):
        members = [image for image, (size, group) in enumerate(sizes) if size and group == wide]
        if members:
            images = torch.tensor(members, device=wanted.device)
            width, mask = max(sizes[image][0] for image in members), wanted[images]
            slots = torch.where(mask, mask.cumsum(1) - 1, width)
            columns = slots.new_full((len(members), width + 1), wanted.shape[1])
            index = torch.arange(wanted.shape[1], device=wanted.device).expand_as(slots)
            groups.append((images, columns.scatter_(1, slots, index)[:, :width]))
    return groups
