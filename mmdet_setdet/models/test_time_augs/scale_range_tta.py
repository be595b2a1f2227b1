"""Test-time augmentation of dense detectors in which each view of an image may detect boxes of a range of sizes."""

from collections.abc import Sequence

import torch
from mmcv.ops import nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS


def soft_vote(
    bboxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    iou_threshold: float = 0.65,
    score_threshold: float = 0.05,
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the boxes of different views of an image.

    In each class the box with the highest score collects all boxes whose IoU with it is above ``iou_threshold``. It
    keeps its score and is moved to their mean, weighted by score. This is repeated with the remaining boxes. A
    collected box may show another object, so it is kept where it is, with its score times 1 - IoU. (``soft_vote`` in
    cvpods, with which its ATSS and OTA are tested.)

    Args:
        bboxes (Tensor): Boxes (x1, y1, x2, y2) in pixels, (N, 4).
        scores (Tensor): Scores, 0 to 1, (N, ).
        labels (Tensor): Classes, (N, ).
        iou_threshold (float): IoU above which boxes are merged.
        score_threshold (float): Collected boxes with a smaller score are dropped.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Boxes (M, 4), scores (M, ) in descending order, and classes (M, ).
    """
    all_bboxes = [bboxes[:0]]
    all_scores = [scores[:0]]
    all_labels = [labels[:0]]
    for label in labels.unique():
        is_class = labels == label
        voted, voted_scores = _vote_in_class(
            bboxes[is_class], scores[is_class], iou_threshold, score_threshold
        )
        all_bboxes.append(voted)
        all_scores.append(voted_scores)
        all_labels.append(label.expand(len(voted)))
    scores = torch.cat(all_scores)
    order = scores.argsort(descending=True)
    return torch.cat(all_bboxes)[order], scores[order], torch.cat(all_labels)[order]


def _vote_in_class(
    bboxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float
) -> tuple[Tensor, Tensor]:
    """Merge the boxes of a single class, see :func:`soft_vote`."""
    kept = nms(bboxes, scores, iou_threshold)[1]
    ious = bbox_overlaps(bboxes[kept], bboxes)
    # A box is collected by the first that overlaps it, which has the highest score. nms rounds differently, hence 1e-6.
    collector = (ious > iou_threshold - 1e-6).float().argmax(0)
    collector[kept] = torch.arange(len(kept), device=kept.device)

    total_scores = scores.new_zeros(len(kept)).index_add_(0, collector, scores)
    weighted_bboxes = bboxes * scores[:, None]
    means = bboxes.new_zeros(len(kept), 4).index_add_(0, collector, weighted_bboxes)
    means = means / total_scores[:, None]

    iou_with_collector = ious.gather(0, collector[None])[0]
    lowered_scores = scores * (1 - iou_with_collector)
    is_left = lowered_scores >= score_threshold
    is_left[kept] = False
    voted_bboxes = torch.cat([means, bboxes[is_left]])
    voted_scores = torch.cat([scores[kept], lowered_scores[is_left]])
    return voted_bboxes, voted_scores


@MODELS.register_module()
class ScaleRangeTTA(DetTTAModel):
    """Merge the detections of several sizes of an image, each of which may detect boxes of certain sizes only.

    Large views detect small objects and small views large ones. Boxes outside of a view's range are dropped, the
    others are merged by :func:`soft_vote`. The views must be ordered as by ``tta_pipeline``: all views of the first
    size (mirrored or not), then all of the second, and so on. (ATSS, arXiv 1912.02424, section 4.4; OTA.)

    Args:
        module (dict | nn.Module): The detector.
        scale_ranges (Sequence[tuple[float, float]]): For each size of the image the lower and the upper limit of the
            square root of a box's area, in pixels of the original image (``TEST.AUG.SCALE_RANGES`` in cvpods).
        iou_threshold (float): See :func:`soft_vote`.
        score_threshold (float): See :func:`soft_vote`.
        max_per_img (int): Maximum number of detections per image.
        test_cfg (dict, optional): Changes to the detector's ``test_cfg`` for the views.
        **kwargs: See mmdet's ``DetTTAModel``.

    Raises:
        InputError: ``test_cfg`` is given with a model that is already built; or, when results are merged, the views
            cannot be divided among the ranges.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        scale_ranges: Sequence[tuple[float, float]],
        iou_threshold: float = 0.65,
        score_threshold: float = 0.05,
        max_per_img: int = 100,
        test_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        if test_cfg:
            if isinstance(module, nn.Module):
                raise InputError(
                    'ScaleRangeTTA: test_cfg is for a model that is not built yet; give module=dict(...)'
                )
            module = {**module, 'test_cfg': {**module.get('test_cfg', {}), **test_cfg}}
        super().__init__(module=module, **kwargs)
        self.scale_ranges = scale_ranges
        self.iou_threshold = iou_threshold
        self.score_threshold = score_threshold
        self.max_per_img = max_per_img

    def merge_preds(self, data_samples_list: list[list[DetDataSample]]) -> list[DetDataSample]:
        """Merge the results of the views of each image; boxes are in pixels of the original image."""
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: list[DetDataSample]) -> DetDataSample:
        """Merge the results of the views of one image."""
        if len(views) % len(self.scale_ranges):
            raise InputError(
                f'ScaleRangeTTA: {len(views)} views of {views[0].img_path} cannot be divided among '
                f'{len(self.scale_ranges)} scale_ranges; tta_pipeline must have a size for each'
            )
        instances = [view.pred_instances for view in views]
        bboxes, scores = self.merge_aug_bboxes(
            [pred.bboxes for pred in instances],
            [pred.scores for pred in instances],
            [view.metainfo for view in views],
        )
        labels = torch.cat([pred.labels for pred in instances])
        low, high = self._size_limits(instances, bboxes).unbind(1)
        area = (bboxes[:, 2:] - bboxes[:, :2]).prod(1)
        in_range = (area > low**2) & (area < high**2)
        bboxes, scores, labels = soft_vote(
            bboxes[in_range],
            scores[in_range],
            labels[in_range],
            self.iou_threshold,
            self.score_threshold,
        )
        result = InstanceData(bboxes=bboxes, scores=scores, labels=labels)
        views[0].pred_instances = result[: self.max_per_img]
        return views[0]

    def _size_limits(self, instances: list[InstanceData], bboxes: Tensor) -> Tensor:
        """Return the range of sizes of the view of each of the N boxes, (N, 2)."""
        views_per_size = len(instances) // len(self.scale_ranges)
        boxes_per_view = torch.tensor([len(pred) for pred in instances], device=bboxes.device)
        limits = bboxes.new_tensor(self.scale_ranges)
        return limits.repeat_interleave(views_per_size, 0).repeat_interleave(boxes_per_view, 0)
