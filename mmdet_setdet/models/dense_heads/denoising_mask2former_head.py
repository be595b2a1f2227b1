"""Denoising in Mask2Former: noised boxes and labels are queries that have to give back the masks."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from mmdet.models.dense_heads import Mask2FormerHead
from mmdet.structures import SampleList
from mmdet.structures.mask import mask2bbox
from mmdet.utils import OptConfigType
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...registry import MODELS
from ..ground_truths import GroundTruths
from ..queries import BoxPosition, Denoising, DenoisingQueries


@MODELS.register_module()
class DenoisingMask2FormerHead(Mask2FormerHead):
    """mmdet's Mask2Former head, trained on noised gts beside its own queries.

    A noised gt is a query as in DN-DETR: its content is the noised label, its position is learned from the noised box.
    The box is also the first layer's attention mask: as in Mask DINO (arXiv 2206.02777, "unified denoising for
    mask") a box is a mask with noise, and the mask is what has to be given back. Later layers attend where the layer
    before has predicted the mask, as Mask2Former's do.

    mmdet's own queries are left as they are, so inference is mmdet's, weight for weight.

    Args:
        denoising (dict, optional): Options of :class:`Denoising`. None: off.
        *args, **kwargs: As mmdet's ``Mask2FormerHead``.
    """

    def __init__(self, *args, denoising: OptConfigType = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.denoising = None
        if denoising is not None:
            self.denoising = Denoising(self.num_classes, self.decoder_embed_dims, **denoising)
            self.box_pos_head = BoxPosition(self.decoder_embed_dims)

    def loss(self, x: tuple[Tensor], batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Compute mmdet's losses, and as ``loss_dn`` the sum of the same losses of the noised gts in all layers."""
        if self.denoising is None:
            return super().loss(x, batch_data_samples)
        instances = [sample.gt_instances for sample in batch_data_samples]
        segments = [sample.get('gt_sem_seg') for sample in batch_data_samples]
        metas = [sample.metainfo for sample in batch_data_samples]
        targets = self.preprocess_gt(instances, segments)
        gts = boxes_around(targets)
        noised = self.denoising(gts)

        with self.joined(noised, map_size=x[-1].shape[-2:]):
            logits, masks = self(x, batch_data_samples)
        matching = slice(-self.num_queries, None)
        losses = self.loss_by_feat(
            [of_layer[:, matching] for of_layer in logits],
            [of_layer[:, matching] for of_layer in masks],
            targets,
            metas,
        )
        # The noised gts join in the first layer: what is predicted before it is of the learned queries alone.
        denoising = slice(0, len(noised))
        known = KnownTargets.of_batch(targets, gts, noised, self.num_classes)
        denoising_losses = self.loss_by_feat(
            [of_layer[:, denoising] for of_layer in logits[1:]],
            [of_layer[:, denoising] for of_layer in masks[1:]],
            known,
            metas,
        )
        total = sum(value.sum() for value in denoising_losses.values())
        losses['loss_dn'] = self.denoising.loss_weight * total
        return losses

    @contextmanager
    def joined(self, noised: DenoisingQueries, map_size: tuple[int, int]) -> Iterator[None]:
        """Within this context the decoder's layers decode N noised gts and, behind them, the M learned queries.

        Args:
            noised (DenoisingQueries): The noised gts.
            map_size (tuple[int, int]): Height and width of the map that the first layer attends to.
        """
        first_layer = self.transformer_decoder.layers[0]
        position = self.box_pos_head(noised.anchors)
        who_sees_whom = noised.attention_mask(self.num_queries)
        hidden = hidden_cells(noised.anchors.sigmoid(), map_size)
        hidden = hidden.repeat_interleave(self.num_heads, 0)

        def join(layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            joined = dict(kwargs, self_attn_mask=who_sees_whom)
            joined['query_pos'] = torch.cat([position, kwargs['query_pos']], 1)
            if layer is first_layer:
                joined['query'] = torch.cat([noised.content, kwargs['query']], 1)
                joined['cross_attn_mask'] = torch.cat([hidden, kwargs['cross_attn_mask']], 1)
            return args, joined

        with ExitStack() as hooks:
            for layer in self.transformer_decoder.layers:
                hooks.enter_context(layer.register_forward_pre_hook(join, with_kwargs=True))
            yield

    def _get_targets_single(
        self,
        cls_score: Tensor,
        mask_pred: Tensor,
        gt_instances: 'InstanceData | KnownTargets',
        img_meta: dict,
    ) -> tuple:
        """Assign the gts of one image, see mmdet; those of noised gts are known."""
        if isinstance(gt_instances, KnownTargets):
            return gt_instances.as_tuple()
        return super()._get_targets_single(cls_score, mask_pred, gt_instances, img_meta)


def boxes_around(targets: Sequence[InstanceData]) -> GroundTruths:
    """The gts of a batch with the boxes of their masks, as shares of the padded batch, which the masks cover."""
    instances = [
        InstanceData(labels=target.labels, bboxes=mask2bbox(target.masks)) for target in targets
    ]
    metas = [dict(img_shape=target.masks.shape[-2:]) for target in targets]
    return GroundTruths.from_instances(instances, metas)


def hidden_cells(boxes: Tensor, map_size: tuple[int, int]) -> Tensor:
    """Make attention masks of boxes: True for cells that a box does not touch.

    Every box in [0, 1] touches at least one cell, so no query is left without a key.

    Args:
        boxes (Tensor): Boxes (cx, cy, w, h) in [0, 1], (B, N, 4).
        map_size (tuple[int, int]): Height h and width w of the map.

    Returns:
        Tensor: Bool, (B, N, h x w).
    """
    hidden = []
    for axis, length in zip((1, 0), map_size):
        centres = (torch.arange(length, device=boxes.device) + 0.5) / length
        distance = (boxes[..., axis, None] - centres).abs()
        reach = (boxes[..., axis + 2, None] + 1 / length) / 2
        hidden.append(distance > reach)
    rows, columns = hidden
    return (rows[..., None] | columns[..., None, :]).flatten(2)


@dataclass
class KnownTargets:
    """What the N noised gts of one image are trained on, in place of the gts that mmdet would assign.

    Attributes:
        labels (Tensor): Long, (N, ); "no object" where padded.
        valid (Tensor): False where padded, (N, ).
        masks (Tensor): The masks of the valid ones, bool, (groups x gts, h, w).
    """

    labels: Tensor
    valid: Tensor
    masks: Tensor

    @classmethod
    def of_batch(
        cls,
        targets: Sequence[InstanceData],
        gts: GroundTruths,
        noised: DenoisingQueries,
        num_classes: int,
    ) -> 'list[KnownTargets]':
        """Repeat the gts of each image as often as they are noised."""
        labels = gts.labels.repeat(1, noised.num_groups)
        labels = torch.where(noised.valid, labels, num_classes)
        masks = [target.masks.bool().repeat(noised.num_groups, 1, 1) for target in targets]
        return [cls(*of_image) for of_image in zip(labels, noised.valid, masks)]

    def as_tuple(self) -> tuple:
        """The targets as mmdet's ``_get_targets_single`` returns them; padding has a weight of 0."""
        weights = self.valid.float()
        count = SimpleNamespace(avg_factor=max(len(self.masks), 1))
        return self.labels, weights, self.masks, weights, None, None, count
