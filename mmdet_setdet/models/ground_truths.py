"""The objects of a batch as two padded tensors, made once a step and read by denoising, assignment and losses."""
from dataclasses import dataclass
from functools import cached_property

import torch
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh, get_box_tensor
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass
class GroundTruths:
    """What a batch of B images shows, padded to its largest number of objects G.

    Attributes:
        labels (Tensor): Classes, long, (B, G); 0 where padded.
        boxes (Tensor): Boxes (cx, cy, w, h) in [0, 1] of the image without its padding, float32, (B, G, 4); 0 where
            padded.
        counts (list[int]): Objects of each image, known to the host without asking the device.
        metas (list[dict]): The images' meta information, to name an image in a message.
    """
    labels: Tensor
    boxes: Tensor
    counts: list[int]
    metas: list[dict]

    @property
    def total(self) -> int:
        """int: Objects in the whole batch."""
        return sum(self.counts)

    @cached_property
    def mask(self) -> Tensor:
        """Tensor: False where padded, (B, G)."""
        counts = torch.tensor(self.counts).to(self.labels.device, non_blocking=True)
        return torch.arange(self.labels.shape[1], device=self.labels.device) < counts[:, None]

    @classmethod
    def from_samples(cls, batch_data_samples: SampleList) -> 'GroundTruths':
        """Reads ``gt_instances`` (``bboxes`` in pixels, x1 y1 x2 y2, and ``labels``) of mmdet's data samples."""
        instances = [sample.gt_instances for sample in batch_data_samples]
        metas = [sample.metainfo for sample in batch_data_samples]
        labels = pad_sequence([gt.labels for gt in instances], batch_first=True)
        boxes = pad_sequence([get_box_tensor(gt.bboxes).float() for gt in instances], batch_first=True)
        height_width = [meta['img_shape'][:2] for meta in metas]
        scale = torch.tensor([[w, h, w, h] for h, w in height_width]).to(boxes.device, non_blocking=True)
        return cls(
            labels=labels,
            boxes=bbox_xyxy_to_cxcywh(boxes / scale[:, None]),
            counts=[len(gt) for gt in instances],
            metas=metas)
