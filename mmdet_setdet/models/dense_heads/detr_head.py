"""DETR's head: hidden states -> classes and boxes -> losses or results."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from mmcv.cnn.bricks.transformer import FFN
from mmdet.models.layers.transformer import inverse_sigmoid
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptMultiConfig, reduce_mean
from mmengine.model import BaseModule, bias_init_with_prob
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..assignment import Matches
from ..ground_truths import GroundTruths
from ..queries import Assigner, GroupQueries, Proposals
from .options import build_assigner, with_class_weights
from .results import in_pixels, without_duplicates

SOFTMAX_LOSS = dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0, bg_cls_weight=0.1)
L1_LOSS = dict(type='L1Loss', loss_weight=5.0)
GIOU_LOSS = dict(type='GIoULoss', loss_weight=2.0)


def mean_over_processes(number: float | Tensor, device: torch.device) -> Tensor:
    """Average a number of the host, or a tensor, over all processes; at least 1, on the device, without a sync."""
    number = torch.as_tensor(number, dtype=torch.float).to(device, non_blocking=True)
    return reduce_mean(number).clamp(min=1)


@MODELS.register_module(name=['DETRHead', 'ConditionalDETRHead'])
class DETRHead(BaseModule):
    """Classes by softmax over K + 1 (the last is "no object"), boxes by a 3-layer perceptron (DETR, section 3.2).

    With ``use_sigmoid=True`` in ``loss_cls`` and references from the decoder it is Conditional DETR's head: classes by
    sigmoid, boxes as changes of reference points. All L decoder layers and B images are one stacked tensor: matched by
    one call, one loss computation.

    Args:
        num_classes (int): Number of classes K.
        embed_dims (int): Size C of a hidden state.
        num_reg_fcs (int): Hidden layers of the box branch.
        num_pred_layer (int): Number of decoder layers, for heads with per-layer predictors. Set by the detector.
        sync_cls_avg_factor (bool, optional): Whether the classification loss is divided by a mean over processes. None:
            with sigmoid, as by the authors; with softmax each process divides by its own targets' weights.
        loss_cls (dict): Classification loss. With ``use_sigmoid=False`` its ``bg_cls_weight`` weighs "no object".
        loss_bbox (dict): L1 loss of normalised boxes.
        loss_iou (dict): Generalised IoU loss.
        eps (float): References are kept this far from 0 and 1 before the inverse sigmoid (1e-3 in the authors' code of
            DN-DETR and in mmdet's head of DAB-DETR, 1e-5 in mmdet's other heads).
        log_layers (bool): Return every loss term of every layer under mmdet's names (``d0.loss_cls``,
            ``d0.dn_loss_bbox``), instead of sums. Each logged scalar costs a device sync.
        train_cfg (dict, optional): Has ``assigner``.
        test_cfg (dict, optional): ``max_per_img``, the number of results per image, and ``nms``, by which mmcv removes
            duplicates among them, e.g. ``dict(type='nms', iou_threshold=0.7)``. By default all stay: a trained DETR has
            few. One that has learnt for a few hundred steps has many. Our configs have it empty, for options to fill.
        init_cfg (dict, optional): Initialisation, as in mmengine.

    Raises:
        InputError: ``train_cfg`` has no assigner, or one that cannot match a batch.
    """

    def __init__(
        self,
        num_classes: int,
        embed_dims: int = 256,
        num_reg_fcs: int = 2,
        num_pred_layer: int = 6,
        sync_cls_avg_factor: bool | None = None,
        loss_cls: ConfigType = SOFTMAX_LOSS,
        loss_bbox: ConfigType = L1_LOSS,
        loss_iou: ConfigType = GIOU_LOSS,
        eps: float = 1e-3,
        log_layers: bool = False,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_classes = num_classes
        self.embed_dims = embed_dims
        self.num_reg_fcs = num_reg_fcs
        self.num_pred_layer = num_pred_layer
        self.eps = eps
        self.log_layers = log_layers
        self.test_cfg = test_cfg or {}
        self.loss_cls = MODELS.build(with_class_weights(loss_cls, num_classes))
        self.loss_bbox = MODELS.build(loss_bbox)
        self.loss_iou = MODELS.build(loss_iou)
        use_sigmoid = self.loss_cls.use_sigmoid
        self.cls_out_channels = num_classes if use_sigmoid else num_classes + 1
        self.sync_cls_avg_factor = (
            use_sigmoid if sync_cls_avg_factor is None else sync_cls_avg_factor
        )
        if train_cfg:
            self.assigner = build_assigner(train_cfg)
        self._init_layers()

    def _init_layers(self) -> None:
        self.fc_cls = nn.Linear(self.embed_dims, self.cls_out_channels)
        self.reg_ffn = FFN(self.embed_dims, self.embed_dims, self.num_reg_fcs, add_residual=False)
        self.fc_reg = nn.Linear(self.embed_dims, 4)

    def init_weights(self) -> None:
        """Initialise by ``init_cfg``; with sigmoid every class starts at probability 0.01."""
        super().init_weights()
        if self.loss_cls.use_sigmoid:
            for classifier in self.classifiers:
                nn.init.constant_(classifier.bias, bias_init_with_prob(0.01))

    @property
    def classifiers(self) -> Iterable[nn.Module]:
        """Iterable[nn.Module]: The classifier of all decoder layers, or one per layer."""
        return [self.fc_cls]

    def forward(
        self, hidden_states: Tensor, references: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict from the states of all layers.

        Args:
            hidden_states (Tensor): (L, B, Q, C).
            references (Tensor, optional): What each layer starts from, points or boxes (cx, cy[, w, h]) in [0, 1],
                (L or 1, B, Q, 2 or 4). Without them boxes are predicted outright.

        Returns:
            tuple[Tensor, Tensor]: Logits (L, B, Q, K or K + 1) and boxes (cx, cy, w, h) in [0, 1], (L, B, Q, 4).
        """
        boxes = self.regress(hidden_states).float()
        if references is not None:
            start = inverse_sigmoid(references.float(), self.eps)
            boxes = boxes + F.pad(start, (0, 4 - start.shape[-1]))
        return self.classify(hidden_states), boxes.sigmoid()

    def classify(self, hidden_states: Tensor) -> Tensor:
        """Predict logits: (L, B, Q, C) -> (L, B, Q, K or K + 1)."""
        return self.fc_cls(hidden_states)

    def regress(self, hidden_states: Tensor) -> Tensor:
        """Predict boxes, or their changes, before the sigmoid: (L, B, Q, C) -> (L, B, Q, 4)."""
        return self.fc_reg(F.relu(self.reg_ffn(hidden_states)))

    @torch.compiler.disable  # matches and their numbers differ from step to step
    def loss(
        self,
        gts: GroundTruths,
        groups: Sequence[GroupQueries] = (),
        proposals: Proposals | None = None,
        mask_loss: Callable[[Matches], dict[str, Tensor]] | None = None,
        **states: Tensor,
    ) -> dict[str, Tensor]:
        """Compute the losses of a step.

        Args:
            gts (GroundTruths): The gts of the batch.
            groups (Sequence[GroupQueries]): The query groups that come before the matching queries.
            proposals (Proposals, optional): What the encoder proposed, in two-stage detectors.
            mask_loss (Callable, optional): Computes further losses from the matches of the last layer.
            **states (Tensor): The arguments of :meth:`forward`.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox`` and ``loss_iou`` of the last layer, ``loss_aux`` of all
            others, ``loss_NAME`` per query group, over all layers, and ``loss_enc`` of proposals. With ``log_layers``
            every term of every layer.
        """
        logits, boxes = self(**states)
        sizes = [len(group) for group in groups]
        sizes.append(logits.shape[2] - sum(sizes))
        *group_logits, logits = logits.split(sizes, 2)
        *group_boxes, boxes = boxes.split(sizes, 2)

        of_proposals, of_layers, matches = self.losses_with_proposals(logits, boxes, gts, proposals)
        losses = self._logged(of_layers)
        if of_proposals is not None:
            losses.update(self._logged(of_proposals, 'enc'))
        if mask_loss is not None:
            num_predictions = logits[0, ..., 0].numel()
            losses.update(mask_loss(matches.of_last_layer(num_predictions)))
        for group, *predictions in zip(groups, group_logits, group_boxes):
            by_layer = self.group_losses(*predictions, gts, group)
            losses.update(self._logged(by_layer, group.name))
        return losses

    def _logged(self, losses: dict[str, Tensor], group: str | None = None) -> dict[str, Tensor]:
        """Turn losses by layer, each (L, ), into the scalars to log; of the matching queries, or of a group."""
        if self.log_layers:
            return _every_layer(losses, '' if group is None else f'{group}_')
        if group is not None:
            return {f'loss_{group}': torch.stack(list(losses.values())).sum()}
        last = {term: values[-1] for term, values in losses.items()}
        others = [values[:-1].sum() for values in losses.values()]
        return dict(last, loss_aux=torch.stack(others).sum())

    def matching_losses(
        self, logits: Tensor, boxes: Tensor, gts: GroundTruths, matches: Matches | None = None
    ) -> dict[str, Tensor]:
        """Match all layers and images, unless they are, and compute each term per layer, see :meth:`loss_by_layer`."""
        logits = logits.float()
        if matches is None:
            matches = self.assigner.match(logits, boxes, gts)
        return self.loss_by_layer(logits, boxes, gts, matches, gts.total)

    def losses_with_proposals(
        self, logits: Tensor, boxes: Tensor, gts: GroundTruths, proposals: Proposals | None
    ) -> tuple[dict[str, Tensor] | None, dict[str, Tensor], Matches]:
        """Match, and compute the losses of proposals, each (1, ), and of the matching queries, each (L, ).

        Proposals like queries are matched and trained with them, as one layer more, before the others.
        """
        is_joined = proposals is not None and proposals.are_like_queries
        if is_joined:
            logits = torch.cat([proposals.logits[None], logits])
            boxes = torch.cat([proposals.boxes[None], boxes])
        matches = self.assigner.match(logits.float(), boxes, gts)
        losses = self.matching_losses(logits, boxes, gts, matches)
        of_proposals = None
        if is_joined:
            of_proposals = {term: values[:1] for term, values in losses.items()}
            losses = {term: values[1:] for term, values in losses.items()}
        elif proposals is not None:
            of_proposals = self._losses_of_all_tokens(proposals, gts)
        return of_proposals, losses, matches

    def _losses_of_all_tokens(self, proposals: Proposals, gts: GroundTruths) -> dict[str, Tensor]:
        """The losses of proposals of all tokens, each (1, ): one per gt of whatever class, or by their own assigner."""
        logits, boxes = proposals.logits[None], proposals.boxes[None]
        if proposals.assigner is not None:
            return self._assigned_losses(logits, boxes, gts, proposals.assigner)
        no_classes = replace(gts, labels=torch.zeros_like(gts.labels))
        return self.matching_losses(logits, boxes, no_classes)

    def group_losses(
        self, logits: Tensor, boxes: Tensor, gts: GroundTruths, group: GroupQueries
    ) -> dict[str, Tensor]:
        """The same for a query group, matched by its own assigner and divided by the number of its pairs.

        The number of pairs is averaged over processes, like the number of gts of the matching part, so that a process
        without gts does not change the weight of the others'. DN-DETR's authors do not average it.
        """
        losses = self._assigned_losses(logits, boxes, gts, group.assigner, group.valid)
        return {term: group.loss_weight * values for term, values in losses.items()}

    def _assigned_losses(
        self,
        logits: Tensor,
        boxes: Tensor,
        gts: GroundTruths,
        assigner: Assigner,
        valid: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The losses by layer of what an assigner of its own matches, divided by the number of its pairs."""
        logits = logits.float()
        matches = assigner.match(logits, boxes, gts)
        return self.loss_by_layer(logits, boxes, gts, matches, matches.num_pairs, valid)

    def loss_by_layer(
        self,
        logits: Tensor,
        boxes: Tensor,
        gts: GroundTruths,
        matches: Matches,
        num_pairs: float | Tensor,
        valid: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute each loss term per layer; queries that are not matched are to predict "no object".

        Args:
            logits (Tensor): Float32, (L, B, Q, K or K + 1).
            boxes (Tensor): Boxes (cx, cy, w, h) in [0, 1], (L, B, Q, 4).
            gts (GroundTruths): The gts of the batch.
            matches (Matches): Which query is trained on which gt.
            num_pairs (float | Tensor): What losses are divided by after averaging over processes; one number, or one
                per layer, (L, ).
            valid (Tensor, optional): False where a query has no part in the classification loss, (B, Q).

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox`` and ``loss_iou``, weighted, each (L, ).
        """
        labels = torch.full_like(logits[..., 0], self.num_classes, dtype=torch.long).flatten()
        labels[matches.pred] = gts.labels.flatten()[matches.gt]
        labels = labels.view(logits.shape[:3])

        averaged = mean_over_processes(num_pairs, logits.device)
        cls_pairs = averaged if self.sync_cls_avg_factor else num_pairs
        loss_cls = self._classification_loss(logits, labels, cls_pairs, valid)
        return dict(loss_cls=loss_cls, **self._box_losses(boxes, gts, matches, averaged))

    def _classification_loss(
        self, logits: Tensor, labels: Tensor, num_pairs: float | Tensor, valid: Tensor | None
    ) -> Tensor:
        """The classification loss (L, ) of logits (L, B, Q, .) and labels (L, B, Q), K meaning "no object".

        The sigmoid loss is divided by the number of pairs, the softmax loss by the weights of its targets; without
        targets both are 0.
        """
        use_sigmoid = self.loss_cls.use_sigmoid
        target = labels
        if use_sigmoid:
            target = labels[..., None] == torch.arange(self.num_classes, device=labels.device)
        loss = self.loss_cls(logits.flatten(0, 2), target.flatten(0, 2), reduction_override='none')
        loss = loss.view(target.shape)
        if use_sigmoid:
            loss = loss.sum(-1)  # over the classes
        if valid is not None:
            loss = torch.where(valid, loss, 0)
        if use_sigmoid:
            return loss.sum((1, 2)) / torch.as_tensor(num_pairs).clamp(min=1)

        object_weight, *_, no_object_weight = self.loss_cls.class_weight
        weight = torch.where(labels == self.num_classes, no_object_weight, object_weight)
        if valid is not None:
            weight = torch.where(valid, weight, 0)
        weight = weight.sum((1, 2))
        if self.sync_cls_avg_factor:
            weight = reduce_mean(weight)
        return loss.sum((1, 2)) / weight.clamp(min=torch.finfo(loss.dtype).eps)

    def _box_losses(
        self, boxes: Tensor, gts: GroundTruths, matches: Matches, num_pairs: Tensor
    ) -> dict[str, Tensor]:
        """``loss_bbox`` and ``loss_iou`` of the matched pairs, each (L, ); boxes are (L, B, Q, 4)."""
        pred = boxes.flatten(0, 2)[matches.pred]
        target = gts.boxes.flatten(0, 1)[matches.gt]
        l1 = self.loss_bbox(pred, target, reduction_override='none').sum(-1)
        pred, target = bbox_cxcywh_to_xyxy(pred), bbox_cxcywh_to_xyxy(target)
        giou = self.loss_iou(pred, target, reduction_override='none')
        return dict(
            loss_bbox=matches.sum_by_layer(l1) / num_pairs,
            loss_iou=matches.sum_by_layer(giou) / num_pairs,
        )

    def predict(
        self,
        batch_data_samples: SampleList,
        rescale: bool = True,
        with_queries: bool = False,
        **states: Tensor,
    ) -> InstanceList:
        """Turn the states of the last layer into results.

        Args:
            batch_data_samples (list[DetDataSample]): The images' meta information.
            rescale (bool): Whether boxes are in pixels of the image as it was loaded, or as it went into the model.
            with_queries (bool): Whether results tell the index of their query, ``queries`` (N, ).
            **states (Tensor): The arguments of :meth:`forward`, each with the L decoder layers first.

        Returns:
            list[InstanceData]: ``bboxes`` (N, 4) in pixels (x1, y1, x2, y2), ``scores`` (N, ) and ``labels`` (N, ).
        """
        boxes, scores, labels, queries = self.best(*self.last_layer(**states))
        metas = [sample.metainfo for sample in batch_data_samples]
        results = [
            InstanceData(bboxes=bboxes, scores=scores, labels=labels)
            for bboxes, scores, labels in zip(in_pixels(boxes, metas, rescale), scores, labels)
        ]
        if with_queries:
            for result, result_queries in zip(results, queries):
                result.queries = result_queries
        nms = self.test_cfg.get('nms')
        if nms:
            results = [without_duplicates(result, nms) for result in results]
        return results

    def last_layer(self, **states: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from the states of the last layer: logits (B, Q, .) in float32 and boxes (B, Q, 4)."""
        last = {name: state[-1:] for name, state in states.items()}
        logits, boxes = self(**last)
        return logits[0].float(), boxes[0]

    def best(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the best ``max_per_img`` of (B, Q, .) predictions: boxes (B, N, 4), scores, labels, queries (B, N).

        With sigmoid a query may count for several classes; with softmax for its best one.
        """
        scores = self.class_scores(logits)
        if self.loss_cls.use_sigmoid:
            scores = scores.flatten(1)
            limit = min(self.test_cfg.get('max_per_img', 300), scores.shape[1])
            scores, index = scores.topk(limit)
            query, labels = index // self.num_classes, index % self.num_classes
        else:
            scores, labels = scores.max(-1)
            limit = min(self.test_cfg.get('max_per_img', 100), scores.shape[1])
            scores, query = scores.topk(limit)
            labels = labels.gather(1, query)
        boxes = boxes.gather(1, query[..., None].expand(-1, -1, 4))
        return boxes, scores, labels, query

    def class_scores(self, logits: Tensor) -> Tensor:
        """Return the scores of the classes, (..., K), of logits (..., K), or (..., K + 1) with softmax."""
        if self.loss_cls.use_sigmoid:
            return logits.sigmoid()
        return logits.softmax(-1)[..., :-1]


def _every_layer(losses: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Name losses by layer, each (L, ), as mmdet does: ``loss_cls`` of the last layer, ``d0.loss_cls`` of the first."""
    named = {}
    for term, values in losses.items():
        *others, last = values.unbind()
        named[f'{prefix}{term}'] = last
        for layer, value in enumerate(others):
            named[f'd{layer}.{prefix}{term}'] = value
    return named
