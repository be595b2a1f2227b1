"""Denoising training: ground truths -> noised queries with a plan known beforehand (DN-DETR, section 4)."""
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from mmdet.models.layers.transformer import MLP, coordinate_to_encoding
from mmengine.model import BaseModule
from torch import Tensor, nn

from .assignment import Matches
from .ground_truths import GroundTruths
from .layers import inverse_sigmoid


@dataclass
class DenoisingQueries:
    """Queries to put in front of the matching queries; N = groups x G of them for each image.

    Attributes:
        content (Tensor): Label embeddings with the indicator in the last place, (B, N, C); 0 where padded.
        anchors (Tensor): Noised boxes before the sigmoid, (B, N, 4); 0 where padded.
        num_groups (int): Number of groups.
    """
    content: Tensor
    anchors: Tensor
    num_groups: int

    def __len__(self) -> int:
        return self.content.shape[1]

    def attention_mask(self, num_matching: int) -> Tensor:
        """Who may not see whom: True where row i must not attend to column j, (N + M, N + M).

        Matching queries see no denoising query, and a group sees no other group; everything else is open, so
        denoising queries see the matching ones (DN-DETR, equation 8).
        """
        group = torch.arange(len(self), device=self.content.device) // max(len(self) // self.num_groups, 1)
        group = torch.cat([group, group.new_full((num_matching, ), -1)])
        return (group != group[:, None]) & (group >= 0)

    def plan(self, gts: GroundTruths, num_layers: int) -> Matches:
        """The known plan of these queries over ``num_layers`` decoder layers."""
        return Matches.known(gts.counts, gts.labels.shape[1], self.num_groups, num_layers, self.content.device)


class Denoising(BaseModule):
    """Turns ground truths into noised queries, all groups and images in one computation and without a device sync.

    Args:
        num_classes (int): Number of classes K.
        embed_dims (int): Size C of a query. The label embedding has C - 1 numbers, the indicator is the last.
        num_groups (int): Times that each object is repeated with noise of its own (``scalar`` in the authors' code).
        label_noise_scale (float): Probability, in [0, 1], that a label is replaced by a random one (gamma).
        box_noise_scale (float): Size of the box noise (lambda): centres move by up to ``scale`` x half a side, sides
            change by up to ``scale`` x their length. Results are clipped to [0, 1].
        eps (float): Probabilities are kept this far from 0 and 1 before the inverse sigmoid.
    """

    def __init__(self,
                 num_classes: int,
                 embed_dims: int,
                 num_groups: int = 5,
                 label_noise_scale: float = 0.2,
                 box_noise_scale: float = 0.4,
                 eps: float = 1e-3) -> None:
        super().__init__()
        if num_groups < 1 or not 0 <= label_noise_scale <= 1 or box_noise_scale < 0:
            raise ValueError(f'denoising needs num_groups >= 1, label_noise_scale in [0, 1] and box_noise_scale >= 0, '
                             f'got {num_groups}, {label_noise_scale}, {box_noise_scale}; '
                             'to switch denoising off set model.denoising=None')
        self.num_classes = num_classes
        self.num_groups = num_groups
        self.label_noise_scale = label_noise_scale
        self.box_noise_scale = box_noise_scale
        self.eps = eps
        # One row more than classes: the last is the "no object known" content of the matching queries.
        self.label_enc = nn.Embedding(num_classes + 1, embed_dims - 1)

    def matching_content(self) -> Tensor:
        """Content of every matching query: the last label embedding and an indicator of 0, (C, )."""
        return nn.functional.pad(self.label_enc.weight[-1], (0, 1))

    def forward(self, gts: GroundTruths) -> DenoisingQueries:
        """Draws the noise and builds the queries, group after group: query ``p * G + g`` is object g in group p."""
        labels, boxes = (x.repeat(1, self.num_groups, *[1] * (x.dim() - 2)) for x in (gts.labels, gts.boxes))
        content = nn.functional.pad(self.label_enc(self.noise_labels(labels)), (0, 1), value=1.)
        anchors = inverse_sigmoid(self.noise_boxes(boxes), self.eps)
        counts = torch.tensor(gts.counts).to(labels.device, non_blocking=True)
        real = torch.arange(gts.labels.shape[1], device=labels.device) < counts[:, None]
        real = real.repeat(1, self.num_groups)[..., None]
        return DenoisingQueries(content * real, anchors * real, self.num_groups)

    def noise_labels(self, labels: Tensor) -> Tensor:
        """Replaces each label, with probability ``label_noise_scale``, by one drawn evenly from all classes."""
        flipped = torch.rand_like(labels, dtype=torch.float) < self.label_noise_scale
        return torch.where(flipped, torch.randint_like(labels, self.num_classes), labels)

    def noise_boxes(self, boxes: Tensor) -> Tensor:
        """Shifts and scales boxes (cx, cy, w, h) in [0, 1] by even noise, see ``box_noise_scale``."""
        sides = boxes[..., 2:]
        reach = torch.cat([sides / 2, sides], -1) * self.box_noise_scale
        return (boxes + (torch.rand_like(boxes) * 2 - 1) * reach).clamp(0, 1)


class BoxPosition(MLP):
    """Where a noised box lies among queries whose positions are learnt vectors without meaning, as DETR's: learnt too.

    The sine encoding of the box goes through a perceptron of two layers; DN-DETR (section 4.7.2) embeds the bare box
    linearly.

    Args:
        embed_dims (int): Size C of a query's position.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__(2 * embed_dims, embed_dims, embed_dims, 2)
        self.num_feats = embed_dims // 2

    def forward(self, anchors: Tensor) -> Tensor:
        """Boxes (cx, cy, w, h) before the sigmoid (B, N, 4) -> positions (B, N, C)."""
        return super().forward(coordinate_to_encoding(anchors.sigmoid(), self.num_feats))


@contextmanager
def masked_self_attention(decoder: nn.Module, mask: Tensor) -> Iterator[None]:
    """While it is open, ``decoder.layers`` get ``mask``, for decoders of mmdet that pass none to their layers.

    Args:
        decoder (nn.Module): Has ``layers``, each with a ``self_attn`` that takes ``attn_mask``, as mmdet's have.
        mask (Tensor): True where query i must not see query j, (Q, Q).
    """

    def add_mask(self_attn: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return args, dict(kwargs, attn_mask=mask)

    with ExitStack() as hooks:
        for layer in decoder.layers:
            hooks.enter_context(layer.self_attn.register_forward_pre_hook(add_mask, with_kwargs=True))
        yield
