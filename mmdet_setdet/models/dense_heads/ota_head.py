"""OTA's head: FCOS's towers, trained with the assignment of a transport plan (Ge et al., arXiv 2103.14259)."""

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import FCOSHead
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import InputError
from ...registry import MODELS, TASK_UTILS
from ..assignment import OTAAssigner
from ..ground_truths import GroundTruths

GIOU_LOSS = dict(type='GIoULoss', loss_weight=2.0)
IOU_BRANCH_LOSS = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.5)


def flatten_levels(levels: list[Tensor]) -> Tensor:
    """Concatenate maps (B, C, H, W) of the levels to (B, N, C), N cells in all."""
    flat = [level.flatten(2) for level in levels]
    return torch.cat(flat, -1).transpose(1, 2)


@MODELS.register_module()
class OTAHead(FCOSHead):
    """A dense head with targets from :class:`OTAAssigner` and a branch that predicts the IoU of its boxes.

    Towers, scales per level and distances to the four sides are those of FCOS. So are the names of the weights: the
    IoU branch is ``conv_centerness``. The score of a detection is the square root of class times IoU (the authors'
    code; section 4.1 of the paper names the branch).

    Args:
        num_classes (int): Number of classes K without background.
        in_channels (int): Channels of the feature levels.
        point_offset (float): Where a prediction stands in its cell, as a fraction of the stride in [0, 1]: 0.5 in
            mmdet's heads, 0 in the authors' code.
        loss_bbox (dict): Loss of the boxes.
        loss_centerness (dict): Loss of the predicted IoU.
        **kwargs: See :class:`FCOSHead`, except for its own assignment. ``train_cfg`` may hold ``assigner``, by default
            an :class:`OTAAssigner` of logits.

    Raises:
        InputError: The assigner is not an :class:`OTAAssigner`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        point_offset: float = 0.5,
        loss_bbox: dict = GIOU_LOSS,
        loss_centerness: dict = IOU_BRANCH_LOSS,
        **kwargs,
    ) -> None:
        super().__init__(
            num_classes,
            in_channels,
            norm_on_bbox=True,
            centerness_on_reg=True,
            loss_bbox=loss_bbox,
            loss_centerness=loss_centerness,
            # NMS sees boxes as they are predicted; they are clipped after it.
            bbox_coder=dict(type='DistancePointBBoxCoder', clip_border=False),
            **kwargs,
        )
        self.prior_generator = MlvlPointGenerator(self.strides, offset=point_offset)
        train_cfg = self.train_cfg or {}
        self.assigner = TASK_UTILS.build(
            train_cfg.get('assigner', dict(type='mmdet_setdet.OTAAssigner'))
        )
        if not isinstance(self.assigner, OTAAssigner):
            raise InputError(
                f'OTAHead: train_cfg.assigner is a {type(self.assigner).__name__}, which cannot assign a '
                "batch of dense predictions; use type='OTAAssigner'"
            )

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        iou_preds: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> dict[str, Tensor]:
        """Assign the predictions and compute the losses.

        Args:
            cls_scores (list[Tensor]): Class logits per level, (B, K, H, W).
            bbox_preds (list[Tensor]): Distances to left, top, right and bottom in strides per level, (B, 4, H, W).
            iou_preds (list[Tensor]): IoU logits per level, (B, 1, H, W).
            batch_gt_instances (list[InstanceData]): ``bboxes`` in pixels and ``labels`` per image.
            batch_img_metas (list[dict]): Meta information per image.
            batch_gt_instances_ignore (list[InstanceData], optional): Not read, as in the authors' code.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox`` and ``loss_iou``, each divided by the number of assigned
            predictions, averaged over processes.
        """
        logits = flatten_levels(cls_scores)
        distances = flatten_levels(bbox_preds)
        iou_logits = flatten_levels(iou_preds)[..., 0]
        sizes = [level.shape[-2:] for level in cls_scores]
        priors = self.prior_generator.grid_priors(sizes, device=logits.device, with_stride=True)
        priors = torch.cat(priors)
        points = priors[:, :2].expand(len(logits), -1, -1)
        bboxes = self.bbox_coder.decode(points, distances * priors[:, 2:3])

        gts = GroundTruths.from_instances(batch_gt_instances, batch_img_metas)
        targets = self.assigner.assign_batch(logits.detach(), bboxes.detach(), priors, gts)
        is_assigned = targets.gt_inds > 0
        num_assigned = is_assigned.sum().float()
        num_assigned = reduce_mean(num_assigned).clamp(min=1)

        labels = torch.where(is_assigned, targets.labels, self.num_classes)
        # The host waits for the device here, once for all that is read at these places.
        assigned = is_assigned.flatten().nonzero()[:, 0]
        pred_bboxes = bboxes.flatten(0, 1)[assigned]
        if len(assigned):
            gt_bboxes = targets.bboxes.flatten(0, 1)[assigned]
            loss_bbox = self.loss_bbox(pred_bboxes, gt_bboxes, avg_factor=num_assigned)
        else:
            # Without boxes mmdet's loss is a constant, and the parameters would get no gradient.
            loss_bbox = pred_bboxes.sum()
        # In float32 also within autocast: on a GPU mmcv's kernel has no bfloat16, and no logarithm of 0 in float16.
        class_logits = logits.flatten(0, 1).float()
        loss_cls = self.loss_cls(class_logits, labels.flatten(), avg_factor=num_assigned)
        loss_iou = self.loss_centerness(
            iou_logits.flatten()[assigned],
            targets.overlaps.flatten()[assigned],
            avg_factor=num_assigned,
        )
        return dict(loss_cls=loss_cls, loss_bbox=loss_bbox, loss_iou=loss_iou)

    def predict_by_feat(
        self, cls_scores: list[Tensor], bbox_preds: list[Tensor], iou_preds: list[Tensor], **kwargs
    ) -> list[InstanceData]:
        """Return the detections per image; arguments as in :meth:`loss_by_feat`, with distances in pixels.

        The score decides which ``nms_pre`` predictions of a level are kept. So class and IoU are combined here, not
        after that choice like mmdet's score factors. A level with fewer cells than ``nms_pre`` keeps at most one
        prediction per cell.
        """
        cfg = kwargs.get('cfg') or self.test_cfg
        nms_pre = cfg.get('nms_pre', -1)
        joint_scores = []
        for class_logits, iou_logits in zip(cls_scores, iou_preds):
            joint = self.joint_logits(class_logits.float(), iou_logits.float())
            num_cells = joint[0, 0].numel()
            if num_cells < nms_pre:
                lowest = joint.flatten(1).topk(num_cells).values[:, -1]
                is_dropped = joint < lowest[:, None, None, None]
                joint = joint.masked_fill(is_dropped, -torch.inf)
            joint_scores.append(joint)
        return super().predict_by_feat(joint_scores, bbox_preds, **kwargs)

    @staticmethod
    def joint_logits(class_logits: Tensor, iou_logits: Tensor) -> Tensor:
        """Return the logits of sqrt(class * IoU), which the base class turns into probabilities."""
        log_score = (F.logsigmoid(class_logits) + F.logsigmoid(iou_logits)) / 2
        return log_score - torch.log(-torch.expm1(log_score))

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: dict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """Apply NMS, clip the boxes to the image and drop empty ones."""
        results = super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
        height, width = img_meta['ori_shape' if rescale else 'img_shape'][:2]
        border = torch.tensor([width, height]).to(results.bboxes.device, non_blocking=True)
        corners = results.bboxes.view(-1, 2, 2).clamp(min=0).minimum(border)
        low, high = corners.unbind(1)
        results.bboxes = torch.cat([low, high], 1)
        # Found once, and not for each field of the results: the host waits for it.
        kept = (high > low).all(1).nonzero()[:, 0]
        return results[kept]
