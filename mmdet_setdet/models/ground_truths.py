"""The ground truths of a batch as padded tensors, made once per step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh, get_box_tensor
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..errors import InputError


@dataclass(kw_only=True)
class GroundTruths:
    """The ground truths of B images, padded to the largest number G per image.

    The same boxes are available in two units. Dense detectors read :attr:`bboxes`, in pixels and named as in mmdet's
    ``gt_instances``. DETRs read :attr:`boxes`, normalised to [0, 1].

    Two images with 2 and 1 ground truths, so G = 2::

        counts  [2, 1]     labels  [[7, 3],      mask  [[True,  True],
                                    [5, 0]]             [True, False]]

    Attributes:
        labels (Tensor): Classes, long, (B, G); 0 where padded.
        bboxes (Tensor): Boxes (x1, y1, x2, y2) in pixels of the images as the detector sees them, float32, (B, G, 4);
            0 where padded.
        counts (list[int]): Number of ground truths per image, known on the host without a device sync.
        metas (list[dict]): Meta information per image. Messages read ``img_path``, :attr:`boxes` reads ``img_shape``.
        image_masks (list[BitmapMasks | PolygonMasks]): Masks per image; empty if the data has none.
    """

    labels: Tensor
    bboxes: Tensor
    counts: list[int]
    metas: list[dict]
    image_masks: list[BitmapMasks | PolygonMasks] = field(default_factory=list)

    @property
    def total(self) -> int:
        """int: Number of ground truths in the whole batch."""
        return sum(self.counts)

    @cached_property
    def mask(self) -> Tensor:
        """Tensor: True for ground truths, False for padding, bool, (B, G). Made without a device sync."""
        counts = torch.tensor(self.counts)
        mask = torch.arange(self.labels.shape[1]) < counts[:, None]
        return mask.to(self.labels.device, non_blocking=True)

    @cached_property
    def boxes(self) -> Tensor:
        """Tensor: Boxes (cx, cy, w, h) in [0, 1] of the image without its padding, float32, (B, G, 4)."""
        return bbox_xyxy_to_cxcywh(self.bboxes / self.scale)

    @cached_property
    def scale(self) -> Tensor:
        """Tensor: Width, height, width and height of each image without its padding, in pixels, (B, 1, 4)."""
        heights_widths = [meta['img_shape'][:2] for meta in self.metas]
        widths_heights = torch.tensor(heights_widths).flip(1)
        return widths_heights.repeat(1, 2)[:, None].to(self.bboxes.device, non_blocking=True)

    @cached_property
    def masks(self) -> Tensor:
        """Tensor: Masks at the size of the padded batch, bool, (B, G, H, W); False where padded.

        Raises:
            InputError: The data has no masks.
        """
        if not self.image_masks:
            raise InputError(
                'the model learns masks, but the data has none: load them by LoadAnnotations(with_mask=True) or, of '
                'panoptic maps, mmdet_setdet.LoadPanopticAnnotations'
            )
        padded = []
        for masks, meta in zip(self.image_masks, self.metas):
            masks = masks.pad(meta['batch_input_shape'])
            padded.append(masks.to_tensor(torch.bool, self.labels.device))
        return pad_sequence(padded, batch_first=True)

    @classmethod
    def from_samples(cls, batch_data_samples: SampleList) -> 'GroundTruths':
        """Pad the ``gt_instances`` of mmdet's data samples."""
        instances = [sample.gt_instances for sample in batch_data_samples]
        metas = [sample.metainfo for sample in batch_data_samples]
        return cls.from_instances(instances, metas)

    @classmethod
    @torch.compiler.disable  # numbers of gts differ from batch to batch
    def from_instances(
        cls, instances: Sequence[InstanceData], metas: list[dict] | None = None
    ) -> 'GroundTruths':
        """Pad the ground truths of the images.

        Args:
            instances (Sequence[InstanceData]): ``bboxes`` (x1, y1, x2, y2) in pixels and ``labels`` per image, and
                ``masks`` if there are any.
            metas (list[dict], optional): Meta information per image. Without it :attr:`boxes` is not available.
        """
        labels = [gt.labels for gt in instances]
        bboxes = [get_box_tensor(gt.bboxes).float() for gt in instances]
        return cls(
            labels=pad_sequence(labels, batch_first=True),
            bboxes=pad_sequence(bboxes, batch_first=True),
            counts=[len(gt) for gt in instances],
            metas=metas or [{} for _ in instances],
            image_masks=[gt.masks for gt in instances if 'masks' in gt],
        )
