"""DETR's head: hidden states -> classes and boxes -> losses or results."""
from collections.abc import Iterable

import torch
from mmcv.cnn.bricks.transformer import FFN
from mmdet.registry import MODELS as MMDET_MODELS
from mmdet.registry import TASK_UTILS as MMDET_TASK_UTILS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptMultiConfig, reduce_mean
from mmengine.model import BaseModule, bias_init_with_prob
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..assignment import HungarianAssigner, Matches
from ..denoising import DenoisingQueries
from ..ground_truths import GroundTruths
from ..layers import inverse_sigmoid
from ..one_to_many import OneToMany

SOFTMAX_LOSS = dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1., bg_cls_weight=0.1)
L1_LOSS = dict(type='L1Loss', loss_weight=5.)
GIOU_LOSS = dict(type='GIoULoss', loss_weight=2.)


def mean_over_processes(number: float | Tensor, device: torch.device) -> Tensor:
    """The mean of a host's number, or of a tensor, over all processes, at least 1, on the device (no sync)."""
    return reduce_mean(torch.as_tensor(number, dtype=torch.float).to(device, non_blocking=True)).clamp(min=1)


@MODELS.register_module()
class DETRHead(BaseModule):
    """Classes by softmax over K + 1 (the last is "no object"), boxes by a 3-layer perceptron (DETR, section 3.2).

    With ``use_sigmoid=True`` in ``loss_cls`` and references from the decoder it is Conditional DETR's head: classes by
    sigmoid, boxes as changes of reference points. All L decoder layers and B images are one stacked tensor: matched by
    one call, one loss computation.

    Args:
        num_classes (int): Number of classes K.
        embed_dims (int): Size C of a hidden state.
        num_reg_fcs (int): Hidden layers of the box branch.
        num_pred_layer (int): Number of decoder layers, for heads that tell them apart. The detector sets it.
        loss_cls (dict): Classification loss. With ``use_sigmoid=False`` its ``bg_cls_weight`` weighs "no object".
        loss_bbox (dict): L1 loss of normalised boxes.
        loss_iou (dict): Generalised IoU loss.
        eps (float): References are kept this far from 0 and 1 before the inverse sigmoid (1e-3 in the authors' code of
            DN-DETR and in mmdet's head of DAB-DETR, 1e-5 in mmdet's other heads).
        train_cfg (dict, optional): Has ``assigner``.
        test_cfg (dict, optional): ``max_per_img``, the number of results for an image.
        init_cfg (dict, optional): Initialisation, as in mmengine.

    Raises:
        ValueError: ``train_cfg`` has no ``assigner``.
    """

    def __init__(self,
                 num_classes: int,
                 embed_dims: int = 256,
                 num_reg_fcs: int = 2,
                 num_pred_layer: int = 6,
                 loss_cls: ConfigType = SOFTMAX_LOSS,
                 loss_bbox: ConfigType = L1_LOSS,
                 loss_iou: ConfigType = GIOU_LOSS,
                 eps: float = 1e-3,
                 train_cfg: OptConfigType = None,
                 test_cfg: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg)
        self.num_classes = num_classes
        self.embed_dims = embed_dims
        self.num_reg_fcs = num_reg_fcs
        self.num_pred_layer = num_pred_layer
        self.eps = eps
        self.test_cfg = test_cfg or {}
        loss_cls = dict(loss_cls)
        no_object_weight = loss_cls.pop('bg_cls_weight', 1.)
        if not loss_cls.get('use_sigmoid', False):
            loss_cls['class_weight'] = [1.] * num_classes + [no_object_weight]
        self.loss_cls = MMDET_MODELS.build(loss_cls)
        self.loss_bbox = MMDET_MODELS.build(loss_bbox)
        self.loss_iou = MMDET_MODELS.build(loss_iou)
        if train_cfg:
            if 'assigner' not in train_cfg:
                raise ValueError('model.train_cfg needs an assigner, e.g. dict(type="mmdet_setdet.HungarianAssigner", '
                                 f'match_costs=[...]); it has {sorted(train_cfg)}')
            self.assigner = MMDET_TASK_UTILS.build(train_cfg['assigner'])
        self.cls_out_channels = num_classes + (0 if self.loss_cls.use_sigmoid else 1)
        self._init_layers()

    def _init_layers(self) -> None:
        self.fc_cls = nn.Linear(self.embed_dims, self.cls_out_channels)
        self.reg_ffn = FFN(self.embed_dims, self.embed_dims, self.num_reg_fcs, add_residual=False)
        self.fc_reg = nn.Linear(self.embed_dims, 4)

    def init_weights(self) -> None:
        """By ``init_cfg``; with sigmoid every class starts at probability 0.01."""
        super().init_weights()
        if self.loss_cls.use_sigmoid:
            for classifier in self.classifiers:
                nn.init.constant_(classifier.bias, bias_init_with_prob(0.01))

    @property
    def classifiers(self) -> Iterable[nn.Module]:
        """Iterable[nn.Module]: The classifier of all decoder layers, or one for each."""
        return [self.fc_cls]

    def forward(self, hidden_states: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predicts from the states of all layers.

        Args:
            hidden_states (Tensor): (L, B, Q, C).
            references (Tensor, optional): What each layer starts from, points or boxes (cx, cy[, w, h]) in [0, 1],
                (L or 1, B, Q, 2 or 4). Without them boxes are predicted outright.

        Returns:
            tuple[Tensor, Tensor]: Logits (L, B, Q, K or K + 1) and boxes (cx, cy, w, h) in [0, 1], (L, B, Q, 4).
        """
        boxes = self.regress(hidden_states).float()
        if references is not None:
            boxes = boxes + F.pad(inverse_sigmoid(references, self.eps), (0, 4 - references.shape[-1]))
        return self.classify(hidden_states), boxes.sigmoid()

    def classify(self, hidden_states: Tensor) -> Tensor:
        """Logits: (L, B, Q, C) -> (L, B, Q, K or K + 1)."""
        return self.fc_cls(hidden_states)

    def regress(self, hidden_states: Tensor) -> Tensor:
        """Boxes, or their changes, before the sigmoid: (L, B, Q, C) -> (L, B, Q, 4)."""
        return self.fc_reg(F.relu(self.reg_ffn(hidden_states)))

    def loss(self, gts: GroundTruths, denoising: DenoisingQueries | None = None, one_to_many: OneToMany | None = None,
             **states: Tensor) -> dict[str, Tensor]:
        """``loss_cls``, ``loss_bbox`` and ``loss_iou`` of the last layer, ``loss_aux`` of all others.

        Args:
            gts (GroundTruths): The objects of the batch.
            denoising (DenoisingQueries, optional): The first queries are these; ``loss_dn`` is theirs, over all layers.
            one_to_many (OneToMany, optional): The last queries are its; ``loss_one_to_many`` is theirs, over all
                layers.
            **states (Tensor): What :meth:`forward` takes.
        """
        predictions = self(**states)
        first = 0 if denoising is None else len(denoising)
        last = 0 if one_to_many is None else one_to_many.num_queries
        parts = [first, predictions[0].shape[2] - first - last, last]
        noised, matching, many = zip(*(part.split(parts, 2) for part in predictions))
        losses = self.summarise(self.loss_by_layer(*matching, gts))
        if denoising is not None:
            losses['loss_dn'] = self._total(self.dn_loss_by_layer(*noised, gts, denoising))
        if one_to_many is not None:
            losses['loss_one_to_many'] = one_to_many.loss_weight * self._total(
                self.loss_by_layer(*many, gts, one_to_many.assigner))
        return losses

    @staticmethod
    def _total(losses: dict[str, Tensor]) -> Tensor:
        return torch.stack(list(losses.values())).sum()

    @staticmethod
    def summarise(losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Few scalars from losses by layer, since each that is logged costs a device sync."""
        summary = {name: values[-1] for name, values in losses.items()}
        return dict(summary, loss_aux=torch.stack([values[:-1].sum() for values in losses.values()]).sum())

    def loss_by_layer(self, logits: Tensor, boxes: Tensor, gts: GroundTruths,
                      one_to_many: HungarianAssigner | None = None) -> dict[str, Tensor]:
        """Matches all layers and images, then computes each loss term for each layer.

        Args:
            logits (Tensor): (L, B, Q, K or K + 1).
            boxes (Tensor): Boxes (cx, cy, w, h) in [0, 1], (L, B, Q, 4).
            gts (GroundTruths): The objects of the batch.
            one_to_many (HungarianAssigner, optional): Matches in the place of the head's own assigner. Losses are then
                divided by the number of pairs, not of objects.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox`` and ``loss_iou``, weighted, each (L, ).
        """
        logits = logits.float()
        plan = (one_to_many or self.assigner).match(logits, boxes, gts)
        num_boxes = mean_over_processes(plan.num_pairs if one_to_many else gts.total, logits.device)
        labels = torch.full_like(logits[..., 0], self.num_classes, dtype=torch.long).flatten()
        labels[plan.pred] = gts.labels.flatten()[plan.gt]
        loss_cls = self.loss_cls_by_layer(logits.flatten(1, 2), labels.unflatten(0, (len(logits), -1)), num_boxes)
        return dict(loss_cls=loss_cls, **self.box_losses(boxes, gts, plan, num_boxes))

    def dn_loss_by_layer(self, logits: Tensor, boxes: Tensor, gts: GroundTruths,
                         denoising: DenoisingQueries) -> dict[str, Tensor]:
        """Losses of the denoising queries, whose plan is known.

        The number of targets is averaged over processes, like the number of objects of the matching part, so that a
        process without objects does not change the weight of the others'. The authors' code does not average it.

        Args:
            logits (Tensor): (L, B, N, K or K + 1).
            boxes (Tensor): Boxes (cx, cy, w, h) in [0, 1], (L, B, N, 4).
            gts (GroundTruths): The objects of the batch.
            denoising (DenoisingQueries): The queries that these are the predictions of.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox`` and ``loss_iou``, weighted, each (L, ).
        """
        plan = denoising.plan(gts, len(logits))
        num_boxes = mean_over_processes(gts.total * denoising.num_groups, logits.device)
        by_layer = (len(logits), gts.total * denoising.num_groups)
        planned = logits.float().flatten(0, 2)[plan.pred].unflatten(0, by_layer)
        labels = gts.labels.flatten()[plan.gt].unflatten(0, by_layer)
        return dict(
            loss_cls=self.loss_cls_by_layer(planned, labels, num_boxes),
            **self.box_losses(boxes, gts, plan, num_boxes))

    def loss_cls_by_layer(self, logits: Tensor, labels: Tensor, num_boxes: Tensor) -> Tensor:
        """Classification loss (L, ) of logits (L, N, K or K + 1) and labels (L, N), K meaning "no object".

        The sigmoid loss is divided by the number of objects, the softmax loss by the weights of its targets; without
        targets both are 0.
        """
        if self.loss_cls.use_sigmoid:
            target = labels[..., None] == torch.arange(self.num_classes, device=labels.device)
            loss = self.loss_cls(logits.flatten(0, 1), target.flatten(0, 1), reduction_override='none')
            return loss.view(len(logits), -1).sum(1) / num_boxes
        loss = self.loss_cls(logits.flatten(0, 1), labels.flatten(), reduction_override='none')
        weight = 1 + (self.loss_cls.class_weight[-1] - 1) * (labels == self.num_classes)
        return loss.view(len(logits), -1).sum(1) / weight.sum(1).clamp(min=torch.finfo(loss.dtype).eps)

    def box_losses(self, boxes: Tensor, gts: GroundTruths, plan: Matches, num_boxes: Tensor) -> dict[str, Tensor]:
        """``loss_bbox`` and ``loss_iou``, each (L, ), of the plan's pairs; boxes are (L, B, N, 4)."""
        pred, target = boxes.flatten(0, 2)[plan.pred], gts.boxes.flatten(0, 1)[plan.gt]
        l1 = self.loss_bbox(pred, target, reduction_override='none').sum(-1)
        giou = self.loss_iou(bbox_cxcywh_to_xyxy(pred), bbox_cxcywh_to_xyxy(target), reduction_override='none')
        return dict(
            loss_bbox=plan.sum_by_layer(l1) / num_boxes, loss_iou=plan.sum_by_layer(giou) / num_boxes)

    def predict(self, batch_data_samples: SampleList, rescale: bool = True, **states: Tensor) -> InstanceList:
        """Results of the last layer.

        Args:
            batch_data_samples (list[DetDataSample]): The images' meta information.
            rescale (bool): Boxes in pixels of the image as it was loaded, else as it went into the model.
            **states (Tensor): What :meth:`forward` takes, each with the L decoder layers first.

        Returns:
            list[InstanceData]: ``bboxes`` (N, 4) in pixels (x1, y1, x2, y2), ``scores`` (N, ) and ``labels`` (N, ).
        """
        logits, boxes = self(**{name: state[-1:] for name, state in states.items()})
        results = zip(*self._top(logits[0].float(), boxes[0]))
        return [self._result(*result, sample.metainfo, rescale) for result, sample in zip(results, batch_data_samples)]

    def _top(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best ``max_per_img`` of (B, Q, .) predictions: boxes (B, N, 4), scores and labels (B, N).

        With sigmoid a query may answer for several classes; with softmax for its best one.
        """
        if self.loss_cls.use_sigmoid:
            scores = logits.sigmoid().flatten(1)
            scores, index = scores.topk(min(self.test_cfg.get('max_per_img', 300), scores.shape[1]))
            query, labels = index // self.num_classes, index % self.num_classes
        else:
            scores, labels = logits.softmax(-1)[..., :-1].max(-1)
            scores, query = scores.topk(min(self.test_cfg.get('max_per_img', 100), scores.shape[1]))
            labels = labels.gather(1, query)
        return boxes.gather(1, query[..., None].expand(-1, -1, 4)), scores, labels

    @staticmethod
    def _result(boxes: Tensor, scores: Tensor, labels: Tensor, meta: dict, rescale: bool) -> InstanceData:
        """One image's results in pixels, boxes clipped to the image."""
        height, width = meta['img_shape'][:2]
        size = boxes.new_tensor([width, height, width, height])
        bboxes = bbox_cxcywh_to_xyxy(boxes).clamp(0, 1) * size
        if rescale:
            bboxes = bboxes / bboxes.new_tensor(meta['scale_factor']).repeat(2)
        return InstanceData(bboxes=bboxes, scores=scores, labels=labels)
