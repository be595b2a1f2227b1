"""The predictions of a model on one image, and the ground truth that each assigner assigns to each of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import ATSSHead, FCOSHead, RTMDetHead, RTMDetSepBNHead, YOLOXHead
from mmdet.models.detectors import DetectionTransformer
from mmdet.models.task_modules.assigners import ATSSAssigner, BaseAssigner, SimOTAAssigner
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ...errors import InputError
from ...models.assignment import OTAAssigner
from ...models.assignment.ota import FORBIDDEN
from ...models.dense_heads import OTAHead
from .drawing import AssignerResult

# These very classes: the outputs of a subclass may have another meaning.
POINT_HEADS = (OTAHead, FCOSHead, ATSSHead, RTMDetHead, RTMDetSepBNHead, YOLOXHead)
TITLES = {'ota': 'OTA', 'simota': 'SimOTA', 'atss': 'ATSS', 'hungarian': 'Hungarian'}


class _Predictions(ABC):
    """N predictions on one image and the assigners that can be applied to them.

    Attributes:
        assigners (tuple[str]): Keys of ``TITLES``.
        cost_name (str): Name of :meth:`costs`.
        points (Tensor): Centres of the predictions in pixels, (N, 2).
        bboxes (Tensor): Predicted boxes (x1, y1, x2, y2) in pixels, (N, 4).
        strides (Tensor, optional): Pixels between the predictions of a level, (N, ); None for queries.
    """

    assigners: tuple[str, ...]
    cost_name: str
    points: Tensor
    bboxes: Tensor
    strides: Tensor | None = None

    @abstractmethod
    def costs(self, gts: InstanceData) -> Tensor:
        """Return the cost of each prediction for each ground truth, (G, N)."""

    @abstractmethod
    def assign(self, name: str, gts: InstanceData) -> Tensor:
        """Apply one of ``assigners``; return index + 1 of each prediction's ground truth, 0 for none, (N, )."""

    def compare(self, names: Sequence[str], gts: InstanceData) -> list[AssignerResult]:
        """Apply several assigners and score all of them with the same costs.

        Args:
            names (Sequence[str]): Some of ``assigners``.
            gts (InstanceData): At least one ground truth, with ``bboxes`` (G, 4) in pixels and ``labels``.
        """
        costs = self.costs(gts)
        results = []
        for name in names:
            gt_index = self.assign(name, gts) - 1
            is_assigned = gt_index >= 0
            own_costs = costs.gather(0, gt_index.clamp(min=0)[None])[0]
            own_costs = torch.where(is_assigned, own_costs, 0)
            results.append(AssignerResult(TITLES[name], gt_index.numpy(), own_costs.numpy()))
        return results


class PointPredictions(_Predictions):
    """Predictions of a dense head, one at each point of each level.

    The maps of all levels become one sequence of N predictions, here with two levels and K classes::

        feats             scores        boxes             sequences
        (1, C, 8, 8)  ->  (1, K, 8, 8)  (1, 4, 8, 8)  ->  scores (80, K)
        (1, C, 4, 4)      (1, K, 4, 4)  (1, 4, 4, 4)      boxes (80, 4)

    OTA, SimOTA and ATSS have the options of the head's own assigner if that is of this kind, else their defaults.
    Hungarian matching is OTA's problem with k = 1 for each ground truth, solved exactly.

    Args:
        head (nn.Module): One of :data:`POINT_HEADS`.
        feats (tuple[Tensor]): Output of the neck for one image, (1, C, H, W) per level.
        anchor_scale (float): Side, in strides, of the square anchors for ATSS if the head has none.

    Raises:
        InputError: The head has several anchors per point.
    """

    assigners = ('ota', 'simota', 'atss', 'hungarian')

    def __init__(self, head: nn.Module, feats: tuple[Tensor], anchor_scale: float = 8) -> None:
        generator = head.prior_generator
        if set(generator.num_base_priors) != {1}:
            raise InputError(
                f'the head has {max(generator.num_base_priors)} anchors per point, and only one can be '
                'drawn; set ratios=[1.] and scales_per_octave=1 of its anchor_generator'
            )
        outputs = head(feats)
        scores, boxes, *other = [_as_sequence(levels) for levels in outputs]
        sizes = [level.shape[-2:] for level in outputs[0]]
        self.level_sizes = [height * width for height, width in sizes]
        strides = _strides_of(generator.strides, self.level_sizes)
        priors = torch.cat(generator.grid_priors(sizes, device=feats[0].device))
        has_anchors = priors.shape[1] == 4
        points = (priors[:, :2] + priors[:, 2:]) / 2 if has_anchors else priors
        if isinstance(head, YOLOXHead):
            score_form = 'square_roots'
            scores = (scores.sigmoid() * other[0].sigmoid()).sqrt()
            self.probabilities = scores
            self.bboxes = head._bbox_decode(torch.cat([priors, strides], 1), boxes[None])[0]
            # YOLOX decodes a box from the corner of its cell, but assigns from the centre.
            points = points + strides / 2
        else:
            score_form = 'logits'
            self.probabilities = scores.sigmoid()
            self.bboxes = head.bbox_coder.decode(priors, boxes)
        if has_anchors:
            self.anchors = priors
        else:
            half = anchor_scale / 2 * strides
            self.anchors = torch.cat([points - half, points + half], 1)
        self.scores = scores
        self.points = points
        self.strides = strides[:, 0]
        self.priors = torch.cat([points, strides], 1)
        self._own = getattr(head, 'assigner', None)
        is_transport = isinstance(self._own, OTAAssigner) and self._own.solver == 'sinkhorn'
        self._ota = self._own if is_transport else OTAAssigner(score_form)
        self.cost_name = f"OTA's, focal loss + {self._ota.iou_weight:g} x -log IoU"

    def costs(self, gts: InstanceData) -> Tensor:
        """Return OTA's costs, (G, N)."""
        costs, _ = self.ota_costs(gts)
        return costs

    def ota_costs(self, gts: InstanceData) -> tuple[Tensor, Tensor]:
        """Return OTA's costs of the predictions for the ground truths (G, N) and for the background (N, )."""
        labels = gts.labels[None]
        bboxes = gts.bboxes[None]
        costs, background, _ = self._ota.costs(self.scores[None], self.bboxes[None], labels, bboxes)
        return costs[0], background[0]

    def assign(self, name: str, gts: InstanceData) -> Tensor:
        if name == 'hungarian':
            return self._match(gts)
        if name == 'atss':
            assigner = self._own_or(ATSSAssigner, topk=9)
            return assigner.assign(InstanceData(priors=self.anchors), self.level_sizes, gts).gt_inds
        assigner = self._ota if name == 'ota' else self._own_or(SimOTAAssigner)
        scores = self.scores if name == 'ota' else self.probabilities
        instances = InstanceData(scores=scores, bboxes=self.bboxes, priors=self.priors)
        return assigner.assign(instances, gts).gt_inds

    def _match(self, gts: InstanceData) -> Tensor:
        """Match one prediction to each ground truth, at the least total cost."""
        costs, background = self.ota_costs(gts)
        # As in OTA, the centre prior is binding unless a ground truth has no prediction within it.
        is_outside = ~self._ota.center_prior(self.priors, gts.bboxes[None])[0]
        # A matched prediction no longer pays its cost for the background.
        additional = (costs - background).double() + FORBIDDEN * is_outside
        gt_index, pred_index = linear_sum_assignment(additional)
        gt_inds = gts.labels.new_zeros(len(self.points))
        gt_inds[pred_index] = torch.from_numpy(gt_index + 1)
        return gt_inds

    def _own_or(self, kind: type[BaseAssigner], **options) -> BaseAssigner:
        """Return the head's assigner if it is of this kind, else a new one."""
        return self._own if isinstance(self._own, kind) else kind(**options)


class QueryPredictions(_Predictions):
    """Predictions of the queries of a DETR's last decoder layer.

    Hungarian matching is that of the model's assigner. OTA assigns the same queries with a dynamic k; the candidates of
    a ground truth are the queries whose predicted box has its centre inside the ground truth's box.

    Args:
        model (DetectionTransformer): The detector, of this package or of mmdet.
        feats (tuple[Tensor]): Output of the neck for one image, (1, C, H, W) per level.
        samples (list[DetDataSample]): The image's meta information.

    Raises:
        InputError: The head has no Hungarian assigner.
    """

    assigners = ('hungarian', 'ota')
    cost_name = "the model's matching costs"

    def __init__(self, model: DetectionTransformer, feats: tuple[Tensor], samples: list) -> None:
        head = model.bbox_head
        self._matcher = getattr(head, 'assigner', None)
        if not hasattr(self._matcher, 'match_costs'):
            raise InputError(
                'the head of the model has no Hungarian assigner; set model.train_cfg.assigner'
            )
        [sample] = samples
        self._meta = sample.metainfo
        outputs = head(**model.forward_transformer(feats, samples))
        logits, boxes = (layers[-1, 0] for layers in outputs[:2])
        height, width = sample.img_shape[:2]
        self.bboxes = bbox_cxcywh_to_xyxy(boxes) * boxes.new_tensor([width, height, width, height])
        self.points = (self.bboxes[:, :2] + self.bboxes[:, 2:]) / 2
        self.probabilities = (
            logits.sigmoid() if head.loss_cls.use_sigmoid else logits.softmax(-1)[:, :-1]
        )
        self._instances = InstanceData(scores=logits, bboxes=self.bboxes)

    def costs(self, gts: InstanceData) -> Tensor:
        """Return the model's matching costs, (G, N)."""
        costs = []
        for cost in self._matcher.match_costs:
            costs.append(
                cost(pred_instances=self._instances, gt_instances=gts, img_meta=self._meta)
            )
        return torch.stack(costs).sum(0).T

    def assign(self, name: str, gts: InstanceData) -> Tensor:
        if name == 'hungarian':
            return self._matcher.assign(self._instances, gts, img_meta=self._meta).gt_inds
        # Without a radius the centre prior does not read strides.
        priors = torch.cat([self.points, torch.ones_like(self.points)], 1)
        instances = InstanceData(scores=self.probabilities, bboxes=self.bboxes, priors=priors)
        return OTAAssigner('probabilities', center_radius=None).assign(instances, gts).gt_inds


def _as_sequence(levels: Sequence[Tensor]) -> Tensor:
    """Flatten the maps (1, C, H, W) of all levels into (N, C)."""
    return torch.cat([level[0].flatten(1) for level in levels], 1).T


def _strides_of(strides: Sequence[tuple[int, int]], level_sizes: Sequence[int]) -> Tensor:
    """Return the stride (x, y) of each prediction in pixels, (N, 2)."""
    levels = [
        torch.tensor(stride).float().expand(size, 2) for stride, size in zip(strides, level_sizes)
    ]
    return torch.cat(levels)


def allowed_assigners(model: nn.Module, names: Sequence[str] = ()) -> Sequence[str]:
    """Return the named assigners, or all that can be applied to the predictions of a model.

    Raises:
        InputError: The model has no known head, or a name is unknown or not available for this head.
    """
    head = getattr(model, 'bbox_head', None)
    if isinstance(model, DetectionTransformer):
        kind = 'queries'
        available = QueryPredictions.assigners
    elif type(head) in POINT_HEADS:
        kind = 'points'
        available = PointPredictions.assigners
    else:
        head_name = type(head).__name__ if head else 'no bbox_head'
        known = ', '.join(cls.__name__ for cls in POINT_HEADS)
        raise InputError(
            f'{type(model).__name__} with {head_name}: assignments can be drawn for detectors of the DETR '
            f'family and for {known}'
        )
    wrong = [name for name in names if name not in available]
    if wrong:
        raise InputError(
            f'--assigner {" ".join(wrong)}: {type(head).__name__} predicts from {kind}, for which there '
            f'are: {", ".join(available)}'
        )
    return names or available


@torch.no_grad()
def predict(
    model: nn.Module, packed: dict, anchor_scale: float = 8
) -> PointPredictions | QueryPredictions:
    """Run a model on one image.

    Args:
        model (nn.Module): A detector that :func:`allowed_assigners` accepts, in evaluation mode.
        packed (dict): The image as packed by a test pipeline.
        anchor_scale (float): See :class:`PointPredictions`.
    """
    data = model.data_preprocessor(pseudo_collate([packed]), False)
    feats = model.extract_feat(data['inputs'])
    if isinstance(model, DetectionTransformer):
        return QueryPredictions(model, feats, data['data_samples'])
    return PointPredictions(model.bbox_head, feats, anchor_scale)
