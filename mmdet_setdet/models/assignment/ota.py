"""OTA: label assignment of dense detectors as optimal transport (Ge et al., arXiv 2103.14259).

An assignment is made in three steps:

1. :meth:`OTAAssigner.build_problems` turns predictions and ground truths into transport problems,
2. :meth:`OTAAssigner.solve` solves each of them,
3. :meth:`OTAAssigner.decode` reads the assignment off the plans.

:class:`TransportProblem` has an example with numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import InputError
from ...registry import TASK_UTILS
from ..ground_truths import GroundTruths
from .base import require_at_least_one
from .dense_costs import DenseCosts
from .non_finite_costs import NonFiniteCosts, image_name
from .optimal_transport import Transport, decode_plan, dynamic_k, sinkhorn, with_background
from .transport_problem import TransportProblem, group_candidates

# Added to the cost of a pair that the centre prior rules out, as in the authors' code. It keeps such a pair out of the
# plan unless the ground truth has no other: then its pairs compare by the rest of their costs.
FORBIDDEN = 1e6
SOLVERS = ('sinkhorn', 'topk')


@dataclass
class BatchAssignResult:
    """The assignment of B images with N predictions each and up to G ground truths.

    Attributes:
        gt_inds (Tensor): 0 for background, else the index of the ground truth plus one, long, (B, N).
        labels (Tensor): Class of the ground truth, -1 for background, long, (B, N).
        bboxes (Tensor): Box (x1, y1, x2, y2) of the ground truth in pixels, 0 for background, float32, (B, N, 4).
        overlaps (Tensor): IoU of the predicted box with that of the ground truth, 0 for background, float32, (B, N).
        costs (Tensor): Cost of the pair, 0 for background, float32, (B, N).
        k (Tensor): Predictions that each ground truth wanted, long, (B, G); 0 where padded.
        error (Tensor): How far the transport was from converged, see :class:`Transport`, float32, (B, ).
    """

    gt_inds: Tensor
    labels: Tensor
    bboxes: Tensor
    overlaps: Tensor
    costs: Tensor
    k: Tensor
    error: Tensor


@TASK_UTILS.register_module()
class OTAAssigner(DenseCosts, BaseAssigner):
    """Assign predictions by the cheapest transport: each ground truth supplies k units, the background the rest.

    :meth:`assign` is mmdet's interface for a single image, so this class can replace ``SimOTAAssigner`` in YOLOX and
    ``DynamicSoftLabelAssigner`` in RTMDet. :meth:`assign_batch` assigns all images of a step at once.

    The defaults are the authors' settings.

    Args:
        score_form (str): Form of the head's scores: 'logits' (RTMDet), 'probabilities', or 'square_roots' of
            probabilities (YOLOX: the square root of class times objectness).
        solver (str): 'sinkhorn', or 'topk' for SimOTA's shortcut: each ground truth takes its k cheapest predictions,
            and a prediction that several take goes to the cheapest of them.
        k (int, optional): Predictions per ground truth. None estimates it, see :func:`dynamic_k`.
        top_q (int): Number of IoUs in that estimate.
        center_radius (float, optional): A ground truth may get the predictions that stand in its box and within this
            many strides of its centre. None allows the whole box.
        nearest (int, optional): r, used instead of ``center_radius``: the r * r nearest predictions of each level that
            stand in the box (the paper's centre prior with r = 5).
        iou_weight (float): Weight of -log(IoU) relative to the focal classification loss (the paper's alpha).
        focal_alpha (float): Weight of positives in the focal loss.
        focal_gamma (float): Exponent of the focal loss.
        eps (float): Weight of the entropy, see :func:`sinkhorn`.
        iterations (int): Maximum number of Sinkhorn iterations.
        tolerance (float): Relative error at which they stop early.

    Raises:
        InputError: An option is out of range.
    """

    def __init__(
        self,
        score_form: str = 'logits',
        solver: str = 'sinkhorn',
        k: int | None = None,
        top_q: int = 20,
        center_radius: float | None = 2.5,
        nearest: int | None = None,
        iou_weight: float = 1.5,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        eps: float = 0.1,
        iterations: int = 50,
        tolerance: float = 1e-5,
    ) -> None:
        super().__init__(
            score_form=score_form,
            center_radius=center_radius,
            nearest=nearest,
            iou_weight=iou_weight,
            focal_alpha=focal_alpha,
            focal_gamma=focal_gamma,
        )
        if solver not in SOLVERS:
            raise InputError(f'OTAAssigner: solver={solver!r} is not one of {list(SOLVERS)}')
        require_at_least_one(self, k=k, top_q=top_q, iterations=iterations)
        if eps <= 0:
            raise InputError(
                f'OTAAssigner: eps={eps} must be above 0; 0 would be the exact plan, see exact_transport'
            )
        self.solver = solver
        self.k = k
        self.top_q = top_q
        self.eps = eps
        self.iterations = iterations
        self.tolerance = tolerance
        self.non_finite_costs = NonFiniteCosts()

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs,
    ) -> AssignResult:
        """Assign the predictions of a single image (mmdet's interface).

        Args:
            pred_instances (InstanceData): ``scores`` (N, K) in the form ``score_form``, ``bboxes`` in pixels (N, 4) and
                ``priors`` (N, 4), see :meth:`assign_batch`.
            gt_instances (InstanceData): ``bboxes`` in pixels (G, 4) and ``labels`` (G, ).
            gt_instances_ignore (InstanceData, optional): Not read, as in the assigners that this class replaces.
            **kwargs: Ignored.

        Returns:
            AssignResult: ``gt_inds`` is 0 for background, else the index of the ground truth plus one; ``labels`` is -1
            and ``max_overlaps`` 0 for background.
        """
        result = self.assign_batch(
            scores=pred_instances.scores[None],
            bboxes=pred_instances.bboxes[None],
            priors=pred_instances.priors,
            gts=GroundTruths.from_instances([gt_instances]),
        )
        return AssignResult(
            num_gts=len(gt_instances),
            gt_inds=result.gt_inds[0],
            max_overlaps=result.overlaps[0],
            labels=result.labels[0],
        )

    @torch.no_grad()
    def assign_batch(
        self, scores: Tensor, bboxes: Tensor, priors: Tensor, gts: GroundTruths
    ) -> BatchAssignResult:
        """Assign the predictions of all images of a step.

        Args:
            scores (Tensor): Scores in the form ``score_form``, (B, N, K).
            bboxes (Tensor): Predicted boxes (x1, y1, x2, y2) in pixels, (B, N, 4).
            priors (Tensor): Where the predictions stand, (N, 4): x, y and the stride of the level in x and y, in
                pixels, as returned by mmdet's ``MlvlPointGenerator.grid_priors(..., with_stride=True)``.
            gts (GroundTruths): The ground truths.

        Returns:
            BatchAssignResult: On the device of the predictions. The host waits for the device for the sizes of the
            problems, and per problem for whether its costs are finite and for a constant of mmdet's IoU: three
            times, twice more if there are two problems, once more with ``nearest``.

        Raises:
            InputError: The priors have no strides.
            FloatingPointError: No cost of an image with ground truths is finite.
        """
        problems = self.build_problems(scores, bboxes, priors, gts)
        transports = [self.solve(problem) for problem in problems]
        return self.decode(problems, transports, gts, num_preds=len(priors))

    @torch.no_grad()
    def build_problems(
        self, scores: Tensor, bboxes: Tensor, priors: Tensor, gts: GroundTruths
    ) -> list[TransportProblem]:
        """Turn predictions and ground truths into transport problems; the arguments are those of :meth:`assign_batch`.

        Returns:
            list[TransportProblem]: At most two, see :func:`group_candidates`. Images without ground truths are in none.
        """
        if priors.dim() != 2 or priors.shape[1] != 4:
            raise InputError(
                f'OTAAssigner: priors are {tuple(priors.shape)} but must be (N, 4): x, y, stride, stride; '
                'give the prior generator with_stride=True'
            )
        if not gts.total or not len(priors):
            return []
        is_near = self.center_prior(priors.float(), gts.bboxes)
        is_near &= gts.mask[..., None]
        # A ground truth without a prediction near it may get any.
        has_no_candidate = gts.mask & ~is_near.any(-1)
        is_allowed = is_near | has_no_candidate[..., None]
        groups = group_candidates(is_allowed.any(1), has_no_candidate.any(1))
        return [
            self._build_problem(images, candidates, scores, bboxes, is_near, is_allowed, gts)
            for images, candidates in groups
        ]

    def _build_problem(
        self,
        images: Tensor,
        candidates: Tensor,
        scores: Tensor,
        bboxes: Tensor,
        is_near: Tensor,
        is_allowed: Tensor,
        gts: GroundTruths,
    ) -> TransportProblem:
        """Build the problem of b of the B images.

        Args:
            images (Tensor): Indices of the b images, (b, ).
            candidates (Tensor): Their candidates, see :func:`group_candidates`, (b, M).
            scores (Tensor): Scores of all images, (B, N, K).
            bboxes (Tensor): Predicted boxes of all images, (B, N, 4).
            is_near (Tensor): Pairs that the centre prior allows, bool, (B, G, N).
            is_allowed (Tensor): The same and all pairs of a ground truth that is near none, bool, (B, G, N).
            gts (GroundTruths): The ground truths of all images.
        """
        num_preds = scores.shape[1]
        is_real = candidates < num_preds
        # Padding reads the last prediction, and demands nothing.
        preds = candidates.clamp(max=num_preds - 1)
        pair_costs, background, ious = self.costs(
            scores=scores[images[:, None], preds],
            bboxes=bboxes[images[:, None], preds],
            labels=gts.labels[images],
            gt_bboxes=gts.bboxes[images],
        )

        preds_per_gt = preds[:, None].expand_as(pair_costs)
        is_near = is_near[images].gather(2, preds_per_gt)
        is_allowed = is_allowed[images].gather(2, preds_per_gt)
        is_allowed &= is_real[:, None]
        is_finite = pair_costs.isfinite() & background.isfinite()[:, None]
        is_usable = is_allowed & is_finite
        self._report(is_allowed & ~is_finite, is_allowed, images, candidates, gts)

        near_ious = torch.where(is_near & is_usable, ious, 0)
        k = self._k(near_ious) * gts.mask[images]
        finite_costs = torch.where(is_usable, pair_costs, FORBIDDEN)
        costs, demand = self._with_others(
            pair_costs=finite_costs + FORBIDDEN * ~is_near,
            background=torch.where(background.isfinite(), background, 0),
            is_real=is_real,
            num_preds=num_preds,
        )
        return TransportProblem(
            images=images,
            candidates=candidates,
            costs=costs,
            supply=with_background(k, num_preds),
            demand=demand,
            k=k,
            is_usable=is_usable,
            pair_costs=pair_costs,
            ious=ious,
        )

    def solve(self, problem: TransportProblem) -> Transport:
        """Return the plan (b, G + 1, M + 1) of a problem, by the solver that was chosen."""
        if self.solver == 'topk':
            return self._solve_by_top_k(problem)
        return sinkhorn(
            problem.costs,
            problem.supply,
            problem.demand,
            eps=self.eps,
            iterations=self.iterations,
            tolerance=self.tolerance,
        )

    def decode(
        self,
        problems: Sequence[TransportProblem],
        transports: Sequence[Transport],
        gts: GroundTruths,
        num_preds: int,
    ) -> BatchAssignResult:
        """Read the assignment of all images off the plans.

        Args:
            problems (Sequence[TransportProblem]): Those of :meth:`build_problems`.
            transports (Sequence[Transport]): The plan of each of them.
            gts (GroundTruths): The ground truths.
            num_preds (int): N, the number of predictions per image.
        """
        num_images, num_gts = gts.labels.shape
        # One more column, of index N, receives what is written for padded candidates.
        gt_inds = gts.labels.new_zeros(num_images, num_preds + 1)
        overlaps = gts.bboxes.new_zeros(num_images, num_preds + 1)
        costs = torch.zeros_like(overlaps)
        k = torch.zeros_like(gts.labels)
        error = gts.bboxes.new_zeros(num_images)
        for problem, transport in zip(problems, transports):
            supplier = self.suppliers(problem, transport)
            pair = supplier.clamp(max=num_gts - 1)[:, None]
            is_usable = problem.is_usable.gather(1, pair)[:, 0]
            is_matched = (supplier < num_gts) & is_usable
            iou = problem.ious.gather(1, pair)[:, 0]
            cost = problem.pair_costs.gather(1, pair)[:, 0]
            cells = problem.images[:, None], problem.candidates
            gt_inds[cells] = (supplier + 1) * is_matched
            overlaps[cells] = torch.where(is_matched, iou, 0)
            costs[cells] = torch.where(is_matched, cost, 0)
            k[problem.images] = problem.k
            error[problem.images] = transport.error
        gt_inds = gt_inds[:, :-1]
        # Index 0 is the background.
        labels = F.pad(gts.labels, (1, 0), value=-1)
        bboxes = F.pad(gts.bboxes, (0, 0, 1, 0))
        coordinate_inds = gt_inds[..., None].expand(-1, -1, 4)
        return BatchAssignResult(
            gt_inds=gt_inds,
            labels=labels.gather(1, gt_inds),
            bboxes=bboxes.gather(1, coordinate_inds),
            overlaps=overlaps[:, :-1],
            costs=costs[:, :-1],
            k=k,
            error=error,
        )

    @staticmethod
    def suppliers(problem: TransportProblem, transport: Transport) -> Tensor:
        """Return the supplier of each candidate, G for the background, long, (b, M)."""
        # Per unit of demand, since the last column demands many.
        plan = transport.plan / problem.demand.clamp(min=1)[:, None]
        return decode_plan(plan)[:, :-1]

    def _k(self, ious: Tensor) -> Tensor:
        """Return k of each ground truth, long, (b, G), from its IoU with predictions near it, (b, G, M)."""
        if self.k is not None:
            return ious.new_full(ious.shape[:2], self.k, dtype=torch.long)
        return dynamic_k(ious, self.top_q)

    def _report(
        self,
        is_bad: Tensor,
        is_allowed: Tensor,
        images: Tensor,
        candidates: Tensor,
        gts: GroundTruths,
    ) -> None:
        """Report the allowed pairs (b, G, M) whose cost is not finite."""
        num_bad = is_bad.sum((1, 2))
        num_costs = is_allowed.sum((1, 2))
        # Read by the host in one copy.
        table = torch.stack([images, num_bad, num_costs], 1).tolist()
        for row, (image, num_bad, num_costs) in enumerate(table):
            if num_bad:
                gt, column = is_bad[row].nonzero().T
                pairs = torch.stack([gt, candidates[row, column]], 1)
                name = image_name(gts.metas, image)
                self.non_finite_costs.report(name, 'the predictions near them', pairs, num_costs)

    @staticmethod
    def _with_others(
        pair_costs: Tensor, background: Tensor, is_real: Tensor, num_preds: int
    ) -> tuple[Tensor, Tensor]:
        """Append the background's row, and the column of all predictions that are not candidates.

        Args:
            pair_costs (Tensor): Finite costs of the pairs, (b, G, M).
            background (Tensor): Finite costs of the background, (b, M).
            is_real (Tensor): False for padded candidates, bool, (b, M).
            num_preds (int): N, the number of predictions per image.

        Returns:
            tuple[Tensor, Tensor]: Costs (b, G + 1, M + 1) and demand (b, M + 1).
        """
        costs = torch.cat([pair_costs, background[:, None]], 1)
        costs = F.pad(costs, (0, 1), value=FORBIDDEN)
        # Only the background supplies the others, so its cost there changes nothing.
        costs[:, -1, -1] = 0
        num_others = num_preds - is_real.sum(1, keepdim=True)
        demand = torch.cat([is_real, num_others], 1).float()
        return costs, demand

    def _solve_by_top_k(self, problem: TransportProblem) -> Transport:
        """Solve like SimOTA: each ground truth takes its k cheapest; of several takers the cheapest one keeps it."""
        costs = problem.costs[:, :-1, :-1]
        num_gts, num_candidates = costs.shape[1:]
        most = min(self.k or self.top_q, num_candidates)
        cheapest = costs.topk(most, largest=False).indices
        is_among_k = torch.arange(most, device=costs.device) < problem.k[..., None]
        is_taken = torch.zeros_like(problem.is_usable)
        is_taken.scatter_(2, cheapest, is_among_k)
        is_taken &= problem.is_usable
        num_takers = is_taken.sum(1)
        only_taker = is_taken.int().argmax(1)
        gt = torch.where(num_takers > 1, costs.argmin(1), only_taker)
        supplier = torch.where(num_takers > 0, gt, num_gts)
        # As a plan: the supplier sends all that a candidate demands; the background serves the others.
        supplier = F.pad(supplier, (0, 1), value=num_gts)
        is_supplier = F.one_hot(supplier, num_gts + 1).transpose(1, 2)
        plan = is_supplier * problem.demand[:, None]
        return Transport(plan, error=costs.new_zeros(len(costs)), iterations=0)
