"""Denoising: gts with noise become queries whose matches are known beforehand (DN-DETR, section 4).

Contrastive denoising (DINO, section 3.3) noises each gt twice per group: little, which has to give the gt back, and
more, which has to be rejected.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from mmdet.models.detectors import DetectionTransformer
from mmdet.models.layers.transformer import MLP, coordinate_to_encoding, inverse_sigmoid
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_xyxy_to_cxcywh
from mmdet.utils import OptConfigType
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS
from ..assignment import Matches
from ..ground_truths import GroundTruths
from .group import GroupQueries, QueryGroup, joint_mask


@dataclass
class DenoisingQueries:
    """Noised gts: N = groups x G queries per image, group after group; twice as many if contrastive.

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
    def group_size(self) -> int:
        """int: Number of queries per group: G positive ones and, if contrastive, G negative ones after them."""
        return len(self) // self.num_groups

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
        group = torch.arange(len(self), device=self.content.device) // max(self.group_size, 1)
        return group != group[:, None]

    def attention_mask(self, num_matching: int) -> Tensor:
        """The mask with ``num_matching`` queries M behind these, (N + M, N + M), see :func:`joint_mask`."""
        return joint_mask([self], num_matching)

    def known_matches(self, gts: GroundTruths, num_layers: int) -> Matches:
        """Each positive query with the gt that it was made of, in ``num_layers`` decoder layers."""
        return Matches.known(
            gts.counts,
            num_gts=gts.labels.shape[1],
            num_groups=self.num_groups,
            num_layers=num_layers,
            device=self.content.device,
            group_size=self.group_size,
        )

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
        num_queries (int, optional): Number of queries per image that the groups share, in place of ``num_groups``: the
            more gts, the fewer groups, at least one.
        contrastive (bool): Whether each group has a negative query per gt, too, which has to be "no object". Its label
            is "unknown", its box noised more, see :meth:`noise_corners`.
        label_noise_scale (float): gamma: probability, in [0, 1], that a label is replaced by a random one.
        box_noise_scale (float): lambda: a centre moves by up to lambda x half a side, a side changes by up to lambda x
            its length; with ``contrastive`` corners move. Results are clipped to [0, 1].
        eps (float): Noised boxes are kept this far from 0 and 1 before the inverse sigmoid.
        loss_weight (float): Weight of the group's losses.

    Raises:
        InputError: An option is out of its range.
    """

    trains_padding = False

    def __init__(
        self,
        num_classes: int,
        embed_dims: int,
        num_groups: int = 5,
        num_queries: int | None = None,
        contrastive: bool = False,
        label_noise_scale: float = 0.2,
        box_noise_scale: float = 0.4,
        eps: float = 1e-3,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if num_queries is not None and num_queries < 1:
            raise InputError(f'denoising needs num_queries >= 1 or None, got {num_queries}')
        if num_groups < 1 or not 0 <= label_noise_scale <= 1 or box_noise_scale < 0:
            raise InputError(
                'denoising needs num_groups >= 1, label_noise_scale in [0, 1] and box_noise_scale >= 0, '
                f'got {num_groups}, {label_noise_scale}, {box_noise_scale}; '
                'to switch denoising off set model.denoising=None'
            )
        self.num_classes = num_classes
        self.embed_dims = embed_dims
        self.num_groups = num_groups
        self.num_queries = num_queries
        self.contrastive = contrastive
        self.label_noise_scale = label_noise_scale
        self.box_noise_scale = box_noise_scale
        self.eps = eps
        self.loss_weight = loss_weight
        self._init_labels()

    def _init_labels(self) -> None:
        # One row more than classes: the last is the "unknown" label of the matching and the negative queries.
        self.label_enc = nn.Embedding(self.num_classes + 1, self.embed_dims - 1)

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
            valid=None if self.trains_padding else noised.valid,
            loss_weight=self.loss_weight,
        )

    def groups_for(self, num_gts: int) -> int:
        """The number of groups for images of up to ``num_gts`` gts, see ``num_queries``."""
        if self.num_queries is None or num_gts == 0:
            return self.num_groups
        return max(self.num_queries // (num_gts * self.copies), 1)

    @property
    def copies(self) -> int:
        """int: How often a group has each gt: twice if contrastive."""
        return 2 if self.contrastive else 1

    def forward(self, gts: GroundTruths) -> DenoisingQueries:
        """Draw the noise and build the queries: query ``p * G + g`` is gt g in group p.

        A batch of two images with 2 gts and 1 gt, two groups, so G = 2 and N = 4::

            image 0    a0 a1 b0 b1
            image 1    a0 -- b0 --         -- is padding

        If contrastive, G negative queries follow the G positive ones of each group: a0 a1 A0 A1 b0 b1 B0 B1.
        """
        num_gts = gts.labels.shape[1]
        num_groups = self.groups_for(num_gts)
        repeats = num_groups * self.copies
        boxes = gts.boxes.repeat(1, repeats, 1)
        labels = self.noise_labels(gts.labels.repeat(1, repeats))
        valid = gts.mask.repeat(1, repeats)

        if self.contrastive:
            copy = torch.arange(labels.shape[1], device=labels.device) // max(num_gts, 1)
            is_negative = copy % 2 == 1
            labels = self.label_negatives(labels, is_negative)
            noised = self.noise_corners(boxes, is_negative)
        else:
            noised = self.noise_boxes(boxes)
        anchors = inverse_sigmoid(noised, self.eps)
        return DenoisingQueries(
            content=self.embed(labels) * valid[..., None],
            anchors=anchors * valid[..., None],
            valid=valid,
            num_groups=num_groups,
        )

    def embed(self, labels: Tensor) -> Tensor:
        """The content of queries with these labels, (B, N) -> (B, N, C)."""
        return nn.functional.pad(self.label_enc(labels), (0, 1), value=1.0)

    def label_negatives(self, labels: Tensor, is_negative: Tensor) -> Tensor:
        """Make the labels (B, N) of negative queries, (N, ), "unknown"."""
        return labels.masked_fill(is_negative, self.num_classes)

    def noise_labels(self, labels: Tensor) -> Tensor:
        """Replace each label, with probability ``label_noise_scale``, by one drawn uniformly from all classes."""
        replaced = torch.rand_like(labels, dtype=torch.float) < self.label_noise_scale
        random_labels = torch.randint_like(labels, self.num_classes)
        return torch.where(replaced, random_labels, labels)

    def noise_boxes(self, boxes: Tensor) -> Tensor:
        """Shift and scale boxes by ``box_noise_scale``, see :func:`noise_boxes`."""
        return noise_boxes(boxes, self.box_noise_scale)

    def noise_corners(self, boxes: Tensor, is_negative: Tensor) -> Tensor:
        """Move the four sides of boxes (cx, cy, w, h) in [0, 1], each by itself, inwards or outwards.

        A side of a positive query moves by 0 to 1, a side of a negative query by 1 to 2 times half the box's width or
        height, times ``box_noise_scale``. Sides of a negative query may pass each other; the box then has no area.

        Args:
            boxes (Tensor): (B, N, 4).
            is_negative (Tensor): Which of the N queries are negative, (N, ).
        """
        half_sides = boxes[..., 2:].repeat(1, 1, 2) / 2
        direction = torch.randint_like(boxes, 2) * 2 - 1
        distance = torch.rand_like(boxes) + is_negative[:, None]
        change = direction * distance * half_sides * self.box_noise_scale
        corners = bbox_cxcywh_to_xyxy(boxes) + change
        return bbox_xyxy_to_cxcywh(corners.clamp(0, 1))


def noise_boxes(boxes: Tensor, scale: float) -> Tensor:
    """Shift and scale boxes (cx, cy, w, h) in [0, 1], (..., 4), by uniform noise.

    A centre moves by up to ``scale`` x half a side, a side changes by up to ``scale`` x its length.
    """
    sides = boxes[..., 2:]
    largest_change = torch.cat([sides / 2, sides], -1) * scale
    noise = torch.rand_like(boxes) * 2 - 1
    return (boxes + noise * largest_change).clamp(0, 1)


@MODELS.register_module()
class DINODenoising(Denoising):
    """Contrastive denoising as in DINO, with the options and the parameter of mmdet's ``CdnQueryGenerator``.

    It differs from :class:`Denoising` with ``contrastive``, which is DN-DETR's, in four ways: labels have no indicator
    and none is "unknown"; negative queries have noised labels; padding is trained to be "no object"; and a label is
    replaced with half the probability.

    Args:
        num_classes (int): Number of classes K.
        embed_dims (int): Size C of a query.
        label_noise_scale (float): Twice the probability that a label is replaced.
        box_noise_scale (float): See :meth:`noise_corners`.
        group_cfg (dict, optional): ``num_dn_queries``, the number of positive queries that the groups share; or
            ``dynamic=False`` and ``num_groups``.
        **kwargs: As :class:`Denoising`.
    """

    trains_padding = True

    def __init__(
        self,
        num_classes: int,
        embed_dims: int,
        label_noise_scale: float = 0.5,
        box_noise_scale: float = 1.0,
        group_cfg: OptConfigType = None,
        **kwargs,
    ) -> None:
        group_cfg = group_cfg or {}
        if group_cfg.get('dynamic', True):
            groups = dict(num_groups=1, num_queries=2 * group_cfg.get('num_dn_queries', 100))
        else:
            groups = dict(num_groups=group_cfg['num_groups'])
        super().__init__(
            num_classes,
            embed_dims,
            contrastive=True,
            label_noise_scale=label_noise_scale / 2,
            box_noise_scale=box_noise_scale,
            **groups,
            **kwargs,
        )

    def _init_labels(self) -> None:
        self.label_embedding = nn.Embedding(self.num_classes, self.embed_dims)

    def embed(self, labels: Tensor) -> Tensor:
        """See :meth:`Denoising.embed`; without an indicator."""
        return self.label_embedding(labels)

    def label_negatives(self, labels: Tensor, is_negative: Tensor) -> Tensor:
        """Leave the noised labels as they are."""
        return labels


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
