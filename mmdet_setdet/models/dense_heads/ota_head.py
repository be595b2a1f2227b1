"""OTA's head: FCOS's towers, trained on what a transport plan assigns (Ge et al., arXiv 2103.14259)."""
import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import FCOSHead
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from ...registry import MODELS, TASK_UTILS

GIOU_LOSS = dict(type='GIoULoss', loss_weight=2.)
IOU_BRANCH_LOSS = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.5)


@MODELS.register_module()
class OTAHead(FCOSHead):
    """A dense head whose targets are :class:`OTAAssigner`'s and whose branch beside the boxes predicts their IoU.

    Towers, scales of the levels and distances to the four sides are FCOS's; so are the names of the weights: the IoU
    branch is ``conv_centerness``. A detection's score is the root of class times IoU (the authors' code; the paper's
    section 4.1 names the branch).

    Args:
        num_classes (int): Classes without background.
        in_channels (int): Channels of the levels.
        point_offset (float): Where in its cell a prediction stands, as a share of the stride, 0 to 1: 0.5 in mmdet's
            heads, 0 in the authors' code.
        loss_bbox (dict): Loss of boxes.
        loss_centerness (dict): Loss of the predicted IoU.
        **kwargs: As :class:`FCOSHead`, but for what tells it how to assign. ``train_cfg`` may hold ``assigner``, an
            :class:`OTAAssigner` of logits by default.

    Raises:
        ValueError: The assigner cannot assign a batch.
    """

    def __init__(self, num_classes: int, in_channels: int, point_offset: float = 0.5, loss_bbox: dict = GIOU_LOSS,
                 loss_centerness: dict = IOU_BRANCH_LOSS, **kwargs) -> None:
        # NMS is to see boxes as they are predicted: they are cut off at the image's border behind it.
        bbox_coder = dict(type='DistancePointBBoxCoder', clip_border=False)
        super().__init__(num_classes, in_channels, norm_on_bbox=True, centerness_on_reg=True, loss_bbox=loss_bbox,
                         loss_centerness=loss_centerness, bbox_coder=bbox_coder, **kwargs)
        self.prior_generator = MlvlPointGenerator(self.strides, offset=point_offset)
        self.assigner = TASK_UTILS.build((self.train_cfg or {}).get('assigner', dict(type='OTAAssigner')))
        if not hasattr(self.assigner, 'assign_batch'):
            raise ValueError(f'OTAHead: train_cfg.assigner is a {type(self.assigner).__name__}, which has no '
                             "assign_batch; take type='OTAAssigner'")

    def loss_by_feat(self, cls_scores: list[Tensor], bbox_preds: list[Tensor], iou_preds: list[Tensor],
                     batch_gt_instances: list[InstanceData], batch_img_metas: list[dict],
                     batch_gt_instances_ignore: list[InstanceData] | None = None) -> dict[str, Tensor]:
        """The losses of a step.

        Args:
            cls_scores (list[Tensor]): Logits of the classes by level, (B, K, H, W).
            bbox_preds (list[Tensor]): Distances to left, top, right and bottom in strides by level, (B, 4, H, W).
            iou_preds (list[Tensor]): Logits of the IoU by level, (B, 1, H, W).
            batch_gt_instances (list[InstanceData]): Objects of each image, ``bboxes`` in pixels and ``labels``.
            batch_img_metas (list[dict]): Meta information of the images.
            batch_gt_instances_ignore (list[InstanceData], optional): Not read, as in the authors' code.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox`` and ``loss_iou``, each over the number of assigned
            predictions, a mean of all processes.
        """
        priors = torch.cat(self.prior_generator.grid_priors(
            [level.shape[-2:] for level in cls_scores], device=cls_scores[0].device, with_stride=True))
        logits, distances, iou_logits = (
            torch.cat([level.flatten(2) for level in levels], -1).transpose(1, 2)
            for levels in (cls_scores, bbox_preds, iou_preds))
        bboxes = self.bbox_coder.decode(priors[:, :2].expand(len(logits), -1, -1), distances * priors[:, 2:3])
        targets = self.assigner.assign_batch(logits.detach(), bboxes.detach(), priors, batch_gt_instances,
                                             batch_img_metas)
        assigned = targets.gt_inds > 0
        num_assigned = reduce_mean(assigned.sum().float()).clamp(min=1)
        labels = torch.where(assigned, targets.labels, self.num_classes)
        pred, target = bboxes[assigned], targets.bboxes[assigned]
        return dict(
            loss_cls=self.loss_cls(logits.flatten(0, 1), labels.flatten(), avg_factor=num_assigned),
            # Of no boxes mmdet's loss is a constant, and the parameters would get no gradient.
            loss_bbox=self.loss_bbox(pred, target, avg_factor=num_assigned) if len(pred) else pred.sum(),
            loss_iou=self.loss_centerness(
                iou_logits[..., 0][assigned], targets.overlaps[assigned], avg_factor=num_assigned))

    def predict_by_feat(self, cls_scores: list[Tensor], bbox_preds: list[Tensor], iou_preds: list[Tensor],
                        **kwargs) -> list[InstanceData]:
        """Detections of each image; the arguments are those of :meth:`loss_by_feat`, distances in pixels.

        The score takes part in the choice of the first ``nms_pre`` predictions, so it is joined here and not, as
        mmdet's score factors are, behind that choice. Of a level with fewer cells than ``nms_pre`` no more predictions
        take part than it has cells.
        """
        # The logit of sqrt(p * q), which the base class turns into a probability.
        roots = [(F.logsigmoid(level.float()) + F.logsigmoid(iou.float())) / 2
                 for level, iou in zip(cls_scores, iou_preds)]
        joint = [root - torch.log(-torch.expm1(root)) for root in roots]
        nms_pre = (kwargs.get('cfg') or self.test_cfg).get('nms_pre', -1)
        for level in joint:
            num_cells = level[0, 0].numel()
            if num_cells < nms_pre:
                least = level.flatten(1).topk(num_cells).values[:, -1]
                level.masked_fill_(level < least[:, None, None, None], -torch.inf)
        return super().predict_by_feat(joint, bbox_preds, **kwargs)

    def _bbox_post_process(self, results: InstanceData, cfg: dict, rescale: bool = False, with_nms: bool = True,
                           img_meta: dict | None = None) -> InstanceData:
        """NMS, then the boxes are cut off at the image's border and what is empty goes."""
        results = super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
        height, width = img_meta['ori_shape' if rescale else 'img_shape'][:2]
        border = results.bboxes.new_tensor([width, height])
        low, high = results.bboxes.view(-1, 2, 2).clamp(min=0).minimum(border).unbind(1)
        results.bboxes = torch.cat([low, high], 1)
        return results[(high > low).all(1)]
