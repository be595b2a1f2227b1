"""Test-time augmentation of dense detectors: each view of an image answers for boxes of a range of sizes."""
from collections.abc import Sequence

import torch
from mmcv.ops import nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..registry import MODELS


def soft_vote(bboxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float = 0.65,
              score_threshold: float = 0.05) -> tuple[Tensor, Tensor, Tensor]:
    """Joins boxes that different views found of the same object.

    In each class the box with the highest score joins all that overlap it by ``iou_threshold`` into their mean,
    weighted by score, and keeps its score; so does the next one that is left. A joined box, which may be of another
    object, also stays as it is, with its score times 1 - IoU with the one that joined it. (``soft_vote`` in cvpods, by
    which its ATSS and OTA are tested.)

    Args:
        bboxes (Tensor): Boxes (x1, y1, x2, y2) in pixels, (N, 4).
        scores (Tensor): 0 to 1, (N, ).
        labels (Tensor): Classes, (N, ).
        iou_threshold (float): Boxes that overlap by so much are one.
        score_threshold (float): A joined box with a smaller score is left out.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Boxes (M, 4), scores (M, ), the highest first, and classes (M, ).
    """
    found = [(bboxes[:0], scores[:0], labels[:0])]
    for label in labels.unique():
        of_class = labels == label
        boxes, weights = bboxes[of_class], scores[of_class]
        kept = nms(boxes, weights, iou_threshold)[1]
        ious = bbox_overlaps(boxes[kept], boxes)
        # The first to overlap it, which is the one with the highest score, took it; nms rounds differently.
        owner = (ious > iou_threshold - 1e-6).float().argmax(0)
        owner[kept] = torch.arange(len(kept), device=kept.device)
        total = weights.new_zeros(len(kept)).index_add_(0, owner, weights)
        means = boxes.new_zeros(len(kept), 4).index_add_(0, owner, boxes * weights[:, None]) / total[:, None]
        rests = weights * (1 - ious.gather(0, owner[None])[0])
        left = rests >= score_threshold
        left[kept] = False
        boxes, weights = torch.cat([means, boxes[left]]), torch.cat([weights[kept], rests[left]])
        found.append((boxes, weights, label.expand(len(boxes))))
    bboxes, scores, labels = map(torch.cat, zip(*found))
    order = scores.argsort(descending=True)
    return bboxes[order], scores[order], labels[order]


@MODELS.register_module()
class ScaleRangeTTA(DetTTAModel):
    """Merges detections of several sizes of an image, of which each may find boxes of certain sizes only.

    Large views find small objects and small views large ones: what a view says of others is dropped, and the rest is
    joined by :func:`soft_vote`. The views are those of ``tta_pipeline``, in its order: all views of the first size
    (mirrored or not), then all of the second, ... (ATSS, arXiv 1912.02424, section 4.4; OTA.)

    Args:
        module (dict | nn.Module): The detector.
        scale_ranges (Sequence[tuple]): For each size of the image, above and below which root of its area in the
            original image a box counts, in pixels (``TEST.AUG.SCALE_RANGES`` in cvpods).
        iou_threshold (float): See :func:`soft_vote`.
        score_threshold (float): See :func:`soft_vote`.
        max_per_img (int): Detections of an image at most.
        test_cfg (dict, optional): What is different in the detector's ``test_cfg`` for each view.
        **kwargs: As mmdet's ``DetTTAModel``.

    Raises:
        ValueError: The views cannot be shared out among the ranges, or ``test_cfg`` meets a model that is built.
    """

    def __init__(self, module: dict | nn.Module, scale_ranges: Sequence[tuple[float, float]],
                 iou_threshold: float = 0.65, score_threshold: float = 0.05, max_per_img: int = 100,
                 test_cfg: dict | None = None, **kwargs) -> None:
        if test_cfg:
            if isinstance(module, nn.Module):
                raise ValueError('ScaleRangeTTA: test_cfg is for a model that is not built yet; give module=dict(...)')
            module = {**module, 'test_cfg': {**module.get('test_cfg', {}), **test_cfg}}
        super().__init__(module=module, **kwargs)
        self.scale_ranges = scale_ranges
        self.iou_threshold, self.score_threshold, self.max_per_img = iou_threshold, score_threshold, max_per_img

    def merge_preds(self, data_samples_list: list[list[DetDataSample]]) -> list[DetDataSample]:
        """Of each image one result from the results of its views, which hold boxes in pixels of the original image."""
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: list[DetDataSample]) -> DetDataSample:
        if len(views) % len(self.scale_ranges):
            raise ValueError(f'ScaleRangeTTA: {len(views)} views of {views[0].img_path} cannot be shared out among '
                             f'{len(self.scale_ranges)} scale_ranges; tta_pipeline must have a size for each')
        found = [view.pred_instances for view in views]
        bboxes, scores = self.merge_aug_bboxes(
            [view.bboxes for view in found], [view.scores for view in found], [view.metainfo for view in views])
        labels = torch.cat([view.labels for view in found])
        ranges = bboxes.new_tensor(self.scale_ranges).repeat_interleave(len(views) // len(self.scale_ranges), 0)
        low, high = ranges.repeat_interleave(torch.tensor([len(view) for view in found], device=ranges.device), 0).T
        area = (bboxes[:, 2:] - bboxes[:, :2]).prod(1)
        counts = (area > low**2) & (area < high**2)
        merged = soft_vote(bboxes[counts], scores[counts], labels[counts], self.iou_threshold, self.score_threshold)
        bboxes, scores, labels = (values[:self.max_per_img] for values in merged)
        views[0].pred_instances = InstanceData(bboxes=bboxes, scores=scores, labels=labels)
        return views[0]
