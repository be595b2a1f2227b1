"""Denoising: gts with noise become queries whose matches are known beforehand (DN-DETR, section 4)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from mmdet.models.detectors import DetectionTransformer
from mmdet.models.layers.transformer import MLP, coordinate_to_encoding, inverse_sigmoid
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS
from ..assignment import Matches
from ..ground_truths import GroundTruths
from .group import GroupQueries, QueryGroup, joint_mask


@dataclass
class DenoisingQueries:
    """Noised gts: N = groups x G queries per image, group after group.

    Attributes:
        content (Tensor): Label embeddings with the indicator in the last place, (B, N, C); 0 where padded.
        anchors (Tensor): Noised boxes (cx, cy, w, h) before the sigmoid, (B, N, 4); 0 where padded.
        valid (Tensor): False where padded, (B, N).
        num_groups (int): Number of groups.
    """

    content: Tensor
    anchors: Tensor
    valid: Tensor
    num_groups: int
    sees_matching = True

    def __len__(self) -> int:
        return self.content.shape[1]

    @property
    def blocked(self) -> Tensor:
        """Tensor: Groups do not see each other: True where query i must not see query j, (N, N).

        Two groups of G = 2 gts::

                    a0 a1 b0 b1
                a0   .  .  x  x        . may be seen
                a1   .  .  x  x        x is masked
                b0   x  x  .  .
                b1   x  x  .  .
        """
        queries_per_group = max(len(self) // self.num_groups, 1)
        group = torch.arange(len(self), device=self.content.device) // queries_per_group
        return group != group[:, None]

    def attention_mask(self, num_matching: int) -> Tensor:
        """The mask with ``num_matching`` queries M behind these, (N + M, N + M), see :func:`joint_mask`."""
        return joint_mask([self], num_matching)

    def known_matches(self, gts: GroundTruths, num_layers: int) -> Matches:
        """Each query with the gt that it was made of, in ``num_layers`` decoder layers."""
        num_gts = gts.labels.shape[1]
        return Matches.known(gts.counts, num_gts, self.num_groups, num_layers, self.content.device)

    def match(self, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Matches:
        """The known matches, whatever is predicted: denoising queries are their own assigner."""
        return self.known_matches(gts, len(logits))


@MODELS.register_module()
class Denoising(QueryGroup):
    """Queries that are gts with noise and have to give those gts back (DN-DETR, section 4).

    All groups and images are noised in one computation, without a device sync.

    Args:
        num_classes (int): Number of classes K.
        embed_dims (int): Size C of a query. The label embedding has C - 1 numbers, the indicator is the last.
        num_groups (int): Number of groups; each repeats every gt with noise of its own (``scalar`` in the authors'
            code).
        label_noise_scale (float): gamma: probability, in [0, 1], that a label is replaced by a random one.
        box_noise_scale (float): lambda: a centre moves by up to lambda x half a side, a side changes by up to lambda x
            its length. Results are clipped to [0, 1].
        eps (float): Noised boxes are kept this far from 0 and 1 before the inverse sigmoid.
        loss_weight (float): Weight of the group's losses.

    Raises:
        InputError: An option is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        embed_dims: int,
        num_groups: int = 5,
        label_noise_scale: float = 0.2,
        box_noise_scale: float = 0.4,
        eps: float = 1e-3,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if num_groups < 1 or not 0 <= label_noise_scale <= 1 or box_noise_scale < 0:
            raise InputError(
                'denoising needs num_groups >= 1, label_noise_scale in [0, 1] and box_noise_scale >= 0, '
                f'got {num_groups}, {label_noise_scale}, {box_noise_scale}; '
                'to switch denoising off set model.denoising=None'
            )
        self.num_classes = num_classes
        self.num_groups = num_groups
        self.label_noise_scale = label_noise_scale
        self.box_noise_scale = box_noise_scale
        self.eps = eps
        self.loss_weight = loss_weight
        # One row more than classes: the last is the "unknown" label of the matching queries.
        self.label_enc = nn.Embedding(num_classes + 1, embed_dims - 1)

    @classmethod
    def from_detector(cls, detector: DetectionTransformer, **options) -> 'Denoising':
        """Build denoising for the detector's classes and query size."""
        return cls(detector.bbox_head.num_classes, detector.embed_dims, **options)

    def matching_content(self) -> Tensor:
        """Content of every matching query: the "unknown" label with an indicator of 0, (C, )."""
        return nn.functional.pad(self.label_enc.weight[-1], (0, 1))

    def queries_for(self, detector: DetectionTransformer, gts: GroundTruths) -> GroupQueries:
        """Noise the gts of a batch and turn them into queries of the detector."""
        noised = self(gts)
        return GroupQueries(
            name='dn',
            queries=detector.noised_queries(noised),
            blocked=noised.blocked,
            sees_matching=noised.sees_matching,
            assigner=noised,
            valid=noised.valid,
            loss_weight=self.loss_weight,
        )

    def forward(self, gts: GroundTruths) -> DenoisingQueries:
        """Draw the noise and build the queries: query ``p * G + g`` is gt g in group p.

        A batch of two images with 2 gts and 1 gt, two groups, so G = 2 and N = 4::

            image 0    a0 a1 b0 b1
            image 1    a0 -- b0 --         -- is padding
        """
        labels = gts.labels.repeat(1, self.num_groups)
        boxes = gts.boxes.repeat(1, self.num_groups, 1)
        valid = gts.mask.repeat(1, self.num_groups)

        label_embedding = self.label_enc(self.noise_labels(labels))
        content = nn.functional.pad(label_embedding, (0, 1), value=1.0)
        anchors = inverse_sigmoid(self.noise_boxes(boxes), self.eps)
        return DenoisingQueries(
            content=content * valid[..., None],
            anchors=anchors * valid[..., None],
            valid=valid,
            num_groups=self.num_groups,
        )

    def noise_labels(self, labels: Tensor) -> Tensor:
        """Replace each label, with probability ``label_noise_scale``, by one drawn uniformly from all classes."""
        replaced = torch.rand_like(labels, dtype=torch.float) < self.label_noise_scale
        random_labels = torch.randint_like(labels, self.num_classes)
        return torch.where(replaced, random_labels, labels)

    def noise_boxes(self, boxes: Tensor) -> Tensor:
        """Shift and scale boxes by ``box_noise_scale``, see :func:`noise_boxes`."""
        return noise_boxes(boxes, self.box_noise_scale)


def noise_boxes(boxes: Tensor, scale: float) -> Tensor:
    """Shift and scale boxes (cx, cy, w, h) in [0, 1], (..., 4), by uniform noise.

    A centre moves by up to ``scale`` x half a side, a side changes by up to ``scale`` x its length.
    """
    sides = boxes[..., 2:]
    largest_change = torch.cat([sides / 2, sides], -1) * scale
    noise = torch.rand_like(boxes) * 2 - 1
    return (boxes + noise * largest_change).clamp(0, 1)


class BoxPosition(MLP):
    """The learned position of a box among queries whose positions are learned vectors, as DETR's are.

    A two-layer perceptron of the box's sine encoding; DN-DETR (section 4.7.2) embeds the bare box linearly.

    Args:
        embed_dims (int): Size C of a query's position.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__(2 * embed_dims, embed_dims, embed_dims, 2)
        self.num_feats = embed_dims // 2

    def forward(self, anchors: Tensor) -> Tensor:
        """Map boxes (cx, cy, w, h) before the sigmoid, (B, N, 4), to positions (B, N, C)."""
        encoding = coordinate_to_encoding(anchors.sigmoid(), self.num_feats)
        return super().forward(encoding)


@contextmanager
def masked_self_attention(decoder: nn.Module, mask: Tensor) -> Iterator[None]:
    """Within this context ``decoder.layers`` get ``mask``; for decoders of mmdet that pass none to their layers.

    Args:
        decoder (nn.Module): Has ``layers``, each with a ``self_attn`` that accepts ``attn_mask``, as mmdet's have.
        mask (Tensor): True where query i must not see query j, (Q, Q).
    """

    def add_mask(self_attn: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return args, dict(kwargs, attn_mask=mask)

    with ExitStack() as hooks:
        for layer in decoder.layers:
            hook = layer.self_attn.register_forward_pre_hook(add_mask, with_kwargs=True)
            hooks.enter_context(hook)
        yield
