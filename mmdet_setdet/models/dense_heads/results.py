"""The results of a DETR's head: boxes in pixels, without duplicates."""

from collections.abc import Sequence

import torch
from mmcv.ops import batched_nms
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from torch import Tensor


def without_duplicates(result: InstanceData, nms: dict) -> InstanceData:
    """Leave out what mmcv's ``nms`` takes for another box of an object, class by class."""
    detections, kept = batched_nms(result.bboxes.float(), result.scores, result.labels, nms)
    result = result[kept]
    result.scores = detections[:, -1]
    return result


def in_pixels(boxes: Tensor, metas: Sequence[dict], rescale: bool) -> Tensor:
    """Convert boxes (cx, cy, w, h) in [0, 1], (B, N, 4), to pixels (x1, y1, x2, y2), clipped to their images."""
    factors = []
    for meta in metas:
        height, width = meta['img_shape'][:2]
        scale_factor = meta['scale_factor'] if rescale else (1, 1)
        factors.append([width, height, *map(float, scale_factor)])
    # One copy for the batch, for which nobody waits.
    factors = torch.tensor(factors, dtype=boxes.dtype).to(boxes.device, non_blocking=True)
    size, scale = factors[:, None].chunk(2, -1)
    bboxes = bbox_cxcywh_to_xyxy(boxes).clamp(0, 1) * size.repeat(1, 1, 2)
    return bboxes / scale.repeat(1, 1, 2)
