"""Who gets what: the predictions of a model on an image, and which object each assigner gives each of them to."""
import logging
from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import ATSSHead, FCOSHead, RTMDetHead, RTMDetSepBNHead, YOLOXHead
from mmdet.models.detectors import DetectionTransformer
from mmdet.models.task_modules.assigners import ATSSAssigner, BaseAssigner, SimOTAAssigner
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ..checks import check_fit
from ..errors import InputError
from ..models.assignment import OTAAssigner
from ..models.assignment.ota import FORBIDDEN
from ..models.dense_heads import OTAHead
from ..visualization import Assigned

# These very classes: a subclass may mean something else by its outputs.
POINT_HEADS = (OTAHead, FCOSHead, ATSSHead, RTMDetHead, RTMDetSepBNHead, YOLOXHead)
TITLES = {'ota': 'OTA', 'simota': 'SimOTA', 'atss': 'ATSS', 'hungarian': 'Hungarian'}


class _Predictions:
    """N predictions on an image, and the assigners they allow: each a method that gives ``gt_inds`` (N, ), 0 for none.

    Attributes:
        points (Tensor): Where the predictions stand in pixels, (N, 2).
        bboxes (Tensor): What they predict, x1, y1, x2, y2 in pixels, (N, 4).
        strides (Tensor, optional): Pixels between the predictions of a level, (N, ); None for queries.
        cost_name (str): What :meth:`costs` are.
    """
    assigners: Sequence[str]
    cost_name: str
    strides: Tensor | None = None

    def compare(self, names: Sequence[str], gts: InstanceData) -> list[Assigned]:
        """Has each of the assigners give out the predictions, and prices them all alike.

        Args:
            names (Sequence[str]): Out of ``assigners``.
            gts (InstanceData): Objects with ``bboxes`` (G, 4) in pixels and ``labels``; at least one.
        """
        costs = self.costs(gts)
        found = []
        for name in names:
            owners = getattr(self, name)(gts) - 1
            own = costs.gather(0, owners.clamp(min=0)[None])[0]
            found.append(Assigned(TITLES[name], owners.numpy(), torch.where(owners >= 0, own, 0).numpy()))
        return found


class PointPredictions(_Predictions):
    """Predictions of a dense head, one at each point of each level.

    OTA, SimOTA and ATSS are as the head's own assigner if that is one of this kind, else as by default. Hungarian
    matching is OTA's problem with one unit for each object, solved exactly.

    Args:
        head (nn.Module): One of :data:`POINT_HEADS`.
        feats (tuple[Tensor]): What the neck gives for one image, each (1, C, H, W).
        anchor_scale (float): Side, in strides, of the square anchors for ATSS if the head has none.
    """
    assigners = ('ota', 'simota', 'atss', 'hungarian')

    def __init__(self, head: nn.Module, feats: tuple[Tensor], anchor_scale: float = 8) -> None:
        generator = head.prior_generator
        if set(generator.num_base_priors) != {1}:
            raise InputError(f'the head has {max(generator.num_base_priors)} anchors a point, and only one can be '
                             'drawn; set ratios=[1.] and scales_per_octave=1 of its anchor_generator')
        outputs = head(feats)
        sizes = [level.shape[-2:] for level in outputs[0]]
        strides = torch.cat([torch.tensor(stride).float().expand(height * width, 2)
                             for stride, (height, width) in zip(generator.strides, sizes)])
        priors = torch.cat(generator.grid_priors(sizes, device=feats[0].device))
        scores, boxes, *rest = (torch.cat([level[0].flatten(1) for level in levels], 1).T for levels in outputs)
        points = priors if priors.shape[1] == 2 else (priors[:, :2] + priors[:, 2:]) / 2
        score_form = 'logits'
        if isinstance(head, YOLOXHead):
            self.bboxes = head._bbox_decode(torch.cat([priors, strides], 1), boxes[None])[0]
            # Boxes are read from the corner of a cell, objects are assigned from its centre.
            points = points + strides / 2
            scores, score_form = (scores.sigmoid() * rest[0].sigmoid()).sqrt(), 'square_roots'
        else:
            self.bboxes = head.bbox_coder.decode(priors, boxes)
        self.scores, self.points, self.strides = scores, points, strides[:, 0]
        self.anchors = priors if priors.shape[1] == 4 else torch.cat(
            [points - anchor_scale / 2 * strides, points + anchor_scale / 2 * strides], 1)
        self.priors = torch.cat([points, strides], 1)
        self.level_sizes = [height * width for height, width in sizes]
        self.probabilities = scores.sigmoid() if score_form == 'logits' else scores
        self._own = getattr(head, 'assigner', None)
        is_transport = isinstance(self._own, OTAAssigner) and self._own.solver == 'sinkhorn'
        self._ota = self._own if is_transport else OTAAssigner(score_form)
        self.cost_name = f"OTA's, focal loss + {self._ota.iou_weight:g} x -log IoU"

    def costs(self, gts: InstanceData) -> Tensor:
        """OTA's costs, (G, N)."""
        return self._all_costs(gts)[0]

    def ota(self, gts: InstanceData) -> Tensor:
        return self._ota.assign(self._instances(self.scores, self.priors), gts).gt_inds

    def simota(self, gts: InstanceData) -> Tensor:
        return self._own_or(SimOTAAssigner).assign(self._instances(self.probabilities, self.priors), gts).gt_inds

    def atss(self, gts: InstanceData) -> Tensor:
        return self._own_or(ATSSAssigner, topk=9).assign(
            InstanceData(priors=self.anchors), self.level_sizes, gts).gt_inds

    def hungarian(self, gts: InstanceData) -> Tensor:
        pairs, background = self._all_costs(gts)
        # What an object gets does not cost the background any more. As in OTA, the centre prior is binding unless an
        # object has nothing else.
        forbidden = ~self._ota.center_prior(self.priors, gts.bboxes[None])[0]
        objects, own = linear_sum_assignment((pairs - background).double() + FORBIDDEN * forbidden)
        gt_inds = gts.labels.new_zeros(len(self.points))
        gt_inds[own] = torch.from_numpy(objects + 1)
        return gt_inds

    def _all_costs(self, gts: InstanceData) -> tuple[Tensor, Tensor]:
        """Costs of the predictions for the objects (G, N) and for the background (N, )."""
        pairs, background, _ = self._ota.costs(self.scores[None], self.bboxes[None], gts.labels[None], gts.bboxes[None])
        return pairs[0], background[0]

    def _instances(self, scores: Tensor, priors: Tensor) -> InstanceData:
        return InstanceData(scores=scores, bboxes=self.bboxes, priors=priors)

    def _own_or(self, kind: type[BaseAssigner], **options) -> BaseAssigner:
        return self._own if isinstance(self._own, kind) else kind(**options)


class QueryPredictions(_Predictions):
    """Predictions of the queries of a DETR's last decoder layer.

    Hungarian matching is that of the model's assigner. OTA gives out the same queries with a dynamic k; an object takes
    such as predict a box whose centre lies in its own.

    Args:
        model (DetectionTransformer): The detector, of this package or of mmdet.
        feats (tuple[Tensor]): What the neck gives for one image, each (1, C, H, W).
        samples (list[DetDataSample]): The image's meta information.
    """
    assigners = ('hungarian', 'ota')
    cost_name = "the model's matching costs"

    def __init__(self, model: DetectionTransformer, feats: tuple[Tensor], samples: list) -> None:
        head = model.bbox_head
        self._matcher, self._meta = getattr(head, 'assigner', None), samples[0].metainfo
        if not hasattr(self._matcher, 'match_costs'):
            raise InputError('the head of the model has no Hungarian assigner; set model.train_cfg.assigner')
        logits, boxes = (layers[-1, 0] for layers in head(**model.forward_transformer(feats, samples))[:2])
        height, width = samples[0].img_shape[:2]
        self.bboxes = bbox_cxcywh_to_xyxy(boxes) * boxes.new_tensor([width, height, width, height])
        self.points = (self.bboxes[:, :2] + self.bboxes[:, 2:]) / 2
        self.logits = logits
        self.probabilities = logits.sigmoid() if head.loss_cls.use_sigmoid else logits.softmax(-1)[:, :-1]

    def costs(self, gts: InstanceData) -> Tensor:
        """The model's matching costs, (G, N)."""
        inputs = dict(pred_instances=self._instances, gt_instances=gts, img_meta=self._meta)
        return torch.stack([cost(**inputs) for cost in self._matcher.match_costs]).sum(0).T

    def hungarian(self, gts: InstanceData) -> Tensor:
        return self._matcher.assign(self._instances, gts, img_meta=self._meta).gt_inds

    def ota(self, gts: InstanceData) -> Tensor:
        # Without a radius the centre prior does not read strides.
        instances = InstanceData(scores=self.probabilities, bboxes=self.bboxes,
                                 priors=torch.cat([self.points, torch.ones_like(self.points)], 1))
        return OTAAssigner('probabilities', center_radius=None).assign(instances, gts).gt_inds

    @property
    def _instances(self) -> InstanceData:
        return InstanceData(scores=self.logits, bboxes=self.bboxes)


def load_model(cfg: dict, checkpoint: str | None = None) -> nn.Module:
    """A detector in evaluation mode, of a checkpoint or with fresh weights, which are always the same.

    Raises:
        InputError: The checkpoint is none, or not of this model.
    """
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    if checkpoint:
        check_fit(model, load_checkpoint(model, checkpoint, map_location='cpu'), checkpoint)
    else:
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel(logging.WARNING)  # it would tell of each parameter
        model.init_weights()
        logger.setLevel(level)
    return model.eval()


def allowed_assigners(model: nn.Module, names: Sequence[str] = ()) -> Sequence[str]:
    """Those of the named assigners, or all, that a model allows.

    Raises:
        InputError: The model has no head that is known, or a name is unknown or none for this head.
    """
    head = getattr(model, 'bbox_head', None)
    if isinstance(model, DetectionTransformer):
        kind, predictions = 'queries', QueryPredictions
    elif type(head) in POINT_HEADS:
        kind, predictions = 'points', PointPredictions
    else:
        raise InputError(
            f'{type(model).__name__} with {type(head).__name__ if head else "no bbox_head"}: assignments can be drawn '
            f'for detectors of the DETR family and for {", ".join(known.__name__ for known in POINT_HEADS)}')
    wrong = [name for name in names if name not in predictions.assigners]
    if wrong:
        raise InputError(f'--assigner {" ".join(wrong)}: {type(head).__name__} predicts from {kind}, for which there '
                         f'are: {", ".join(predictions.assigners)}')
    return names or predictions.assigners


@torch.no_grad()
def predict(model: nn.Module, packed: dict, anchor_scale: float = 8) -> PointPredictions | QueryPredictions:
    """The predictions of a model on one image.

    Args:
        model (nn.Module): A detector that :func:`allowed_assigners` accepts, in evaluation mode.
        packed (dict): The image as a test pipeline packs it.
        anchor_scale (float): See :class:`PointPredictions`.
    """
    data = model.data_preprocessor(pseudo_collate([packed]), False)
    feats = model.extract_feat(data['inputs'])
    if isinstance(model, DetectionTransformer):
        return QueryPredictions(model, feats, data['data_samples'])
    return PointPredictions(model.bbox_head, feats, anchor_scale)
