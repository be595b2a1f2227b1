"""Denoising in Faster R-CNN and Mask R-CNN: noised gts are proposals that have to give the gts back."""

from dataclasses import dataclass

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules import AssignResult, SamplingResult
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import InstanceList, OptConfigType
from torch import Tensor

from ...errors import InputError
from ...registry import MODELS
from ..ground_truths import GroundTruths
from ..queries import noise_boxes


@dataclass
class NoisedProposals:
    """Makes proposals of gts by adding noise to their boxes; each is assigned to the gt that it was made of.

    An RoI head pools features where a proposal lies and knows nothing else of it, so there is noise on boxes only: a
    proposal has no label that could be noised. Proposals do not see each other, so no attention mask is needed.

    Args:
        num_groups (int): Number of proposals per gt, each with noise of its own.
        box_noise_scale (float): As in :class:`Denoising`, below 1: a proposal needs a width and a height.
        loss_weight (float): Weight of the losses.

    Raises:
        InputError: An option is out of its range.
    """

    num_groups: int = 5
    box_noise_scale: float = 0.4
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.num_groups < 1 or not 0 <= self.box_noise_scale < 1:
            raise InputError(
                'roi_head.denoising needs num_groups >= 1 and box_noise_scale in [0, 1), got '
                f'{self.num_groups}, {self.box_noise_scale}; to switch it off set roi_head.denoising=None'
            )

    def __call__(self, gts: GroundTruths) -> list[SamplingResult]:
        """Noise the gts of a batch: per image ``num_groups`` x its gts, as mmdet's samplers return them."""
        noised = noise_boxes(gts.boxes.repeat(1, self.num_groups, 1), self.box_noise_scale)
        corners = bbox_cxcywh_to_xyxy(noised).clamp(0, 1)  # a proposal ends with the image
        priors = (corners * gts.scale).unflatten(1, (self.num_groups, -1))
        results = []
        for image, count in enumerate(gts.counts):
            of_image = priors[image, :, :count].flatten(0, 1)
            results.append(
                self._known(of_image, gts.bboxes[image, :count], gts.labels[image, :count])
            )
        return results

    def _known(self, priors: Tensor, gt_bboxes: Tensor, gt_labels: Tensor) -> SamplingResult:
        """The proposals of one image, (groups x gts, 4), all of them positive."""
        num_gts = len(gt_labels)
        every = torch.arange(len(priors), device=priors.device)
        known = AssignResult(
            num_gts=num_gts,
            gt_inds=every % max(num_gts, 1) + 1,  # counted from 1
            max_overlaps=None,
            labels=gt_labels.repeat(self.num_groups),
        )
        return SamplingResult(
            pos_inds=every,
            neg_inds=every[:0],
            priors=priors,
            gt_bboxes=gt_bboxes,
            assign_result=known,
            gt_flags=torch.zeros_like(every),
        )


@MODELS.register_module()
class DenoisingRoIHead(StandardRoIHead):
    """mmdet's RoI head of Faster R-CNN and Mask R-CNN, trained on noised gts beside the sampled proposals.

    Inference and weights are mmdet's: noised gts are proposals in training only.

    Args:
        denoising (dict, optional): Options of :class:`NoisedProposals`. None: off.
        *args, **kwargs: As mmdet's ``StandardRoIHead``.
    """

    def __init__(self, *args, denoising: OptConfigType = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.denoising = None if denoising is None else NoisedProposals(**denoising)

    def loss(
        self, x: tuple[Tensor], rpn_results_list: InstanceList, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Compute mmdet's losses, and as ``loss_dn`` the sum of the same losses of the noised gts.

        Each of these is a mean over the noised gts, and mmdet's are means over the sampled proposals. Weighted by how
        many noised gts there are for each sampled proposal, either counts the same.
        """
        losses = super().loss(x, rpn_results_list, batch_data_samples)
        if self.denoising is not None:
            noised = self.denoising(GroundTruths.from_samples(batch_data_samples))
            num_noised = sum(len(result.priors) for result in noised)
            num_sampled = self.bbox_sampler.num * len(noised)
            weight = self.denoising.loss_weight * num_noised / num_sampled
            losses['loss_dn'] = weight * self.loss_of_noised(x, noised, batch_data_samples)
        return losses

    def loss_of_noised(
        self,
        x: tuple[Tensor],
        noised: list[SamplingResult],
        batch_data_samples: SampleList,
    ) -> Tensor:
        """The sum of the box and mask head's losses of noised gts; 0 in a batch without gts."""
        boxes = self.bbox_loss(x, noised)
        losses = dict(boxes['loss_bbox'])
        if self.with_mask:
            instances = [sample.gt_instances for sample in batch_data_samples]
            masks = self.mask_loss(x, noised, boxes['bbox_feats'], instances)
            losses.update(masks['loss_mask'])
        return sum(value.sum() for name, value in losses.items() if 'loss' in name)
