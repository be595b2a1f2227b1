"""DETR's mask head: where a query looks in the encoded image, upsampled with the backbone's finer maps."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmcv.cnn import ConvModule
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, InstanceList, OptMultiConfig
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...errors import InputError
from ...registry import MODELS
from ..assignment import Matches
from ..dense_heads.detr_head import mean_over_processes
from ..ground_truths import GroundTruths
from .image_sizes import ImageSizes
from .panoptic_fusion import panoptic_map

FOCAL_LOSS = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
DICE_LOSS = dict(type='DiceLoss', use_sigmoid=True, naive_dice=True, eps=1.0, loss_weight=1.0)
NORM = dict(type='GN', num_groups=8)


@dataclass
class ImageFeatures:
    """What the masks of all queries of B images read, computed once per image.

    Attributes:
        size (tuple[int, int]): Height h and width w of the map that queries attend to.
        keys (Tensor): Its keys, (B, heads, C / heads, h * w).
        padding (Tensor | None): True where it shows padding only, (B, h * w); None where no image is padded.
        base (Tensor): The first convolution's response to the image, without the queries' attention, (B, ., h, w).
        finer (list[Tensor]): The finer maps, the coarsest first, each (B, ., h', w').
    """

    size: tuple[int, int]
    keys: Tensor
    padding: Tensor | None
    base: Tensor
    finer: list[Tensor]


@MODELS.register_module()
class DETRMaskHead(BaseModule):
    """A mask per query (DETR, arXiv 2005.12872, section 4.4 and figure 8).

    .. code:: text

        query, memory -> attention map of each head -.
        feature map of the encoder ------------------+-> conv, conv -> up + finer map -> conv (3 times) -> mask logits

    The softmax of the attention runs over all heads and positions together, as in the authors' code. Each query passes
    the convolutions by itself. What does not depend on the query, in the first convolution too, is computed once per
    image; the result is the same.

    In training only matched queries of the last decoder layer get masks. Masks are computed in chunks, so that the
    memory does not grow with the number of queries.

    Args:
        in_channels (Sequence[int]): Channels of the backbone's finer maps, the coarsest first.
        embed_dims (int): Size C of a query, a multiple of 128.
        num_heads (int): Number of attention heads.
        num_things (int, optional): Number of classes of things, which come before stuff: the head also predicts
            panoptic maps, and instances are results of these classes only. None: all classes are instances.
        panoptic_score (float): Lowest score of a query that takes part in the panoptic map.
        instance_score (float): Lowest score of an instance. Published box and mask AP count all, with 0.
        chunk_size (int): Masks that are computed at once.
        unit_attention (bool): Scale the attention of a query so that its mean is 1 instead of its sum. Of a thousand
            numbers that add up to 1 the convolutions see next to nothing at first; so masks are learned from scratch in
            minutes. False as in the authors' code.
        loss_mask (dict): Focal loss of a mask's pixels, averaged over them.
        loss_dice (dict): Dice loss of a mask.
        init_cfg (dict, optional): Initialisation, as in mmengine.

    Raises:
        InputError: ``embed_dims`` is not a multiple of 128.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (1024, 512, 256),
        embed_dims: int = 256,
        num_heads: int = 8,
        num_things: int | None = None,
        panoptic_score: float = 0.85,
        instance_score: float = 0.0,
        chunk_size: int = 25,
        unit_attention: bool = False,
        loss_mask: ConfigType = FOCAL_LOSS,
        loss_dice: ConfigType = DICE_LOSS,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        if embed_dims % 128:
            raise InputError(
                f'model.mask_head.embed_dims={embed_dims}: must be a multiple of 128, so that its sixteenth part has '
                'groups to normalise'
            )
        self.num_heads = num_heads
        self.num_things = num_things
        self.panoptic_score = panoptic_score
        self.instance_score = instance_score
        self.chunk_size = chunk_size
        self.unit_attention = unit_attention
        self.loss_mask = MODELS.build(loss_mask)
        self.loss_dice = MODELS.build(loss_dice)
        self._init_layers(in_channels, embed_dims)

    def _init_layers(self, in_channels: Sequence[int], embed_dims: int) -> None:
        self.q_linear = nn.Linear(embed_dims, embed_dims)
        self.k_linear = nn.Linear(embed_dims, embed_dims)
        joined = embed_dims + self.num_heads
        widths = [joined, joined]
        widths += [embed_dims >> power for power in range(1, len(in_channels) + 2)]
        convs = []
        for before, after in itertools.pairwise(widths):
            convs.append(ConvModule(before, after, 3, padding=1, bias=True, norm_cfg=NORM))
        self.convs = nn.ModuleList(convs)
        # A finer map is added to what the second convolution and those after it return.
        adapters = [nn.Conv2d(*channels, 1) for channels in zip(in_channels, widths[2:])]
        self.adapters = nn.ModuleList(adapters)
        self.conv_out = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def init_weights(self) -> None:
        """Initialise as the authors: convolutions by Kaiming's rule, projections by Xavier's, biases at zero."""
        super().init_weights()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
            else:
                continue
            nn.init.zeros_(module.bias)

    def encode(
        self, feature_map: Tensor, memory: Tensor, padding: Tensor | None, finer: Sequence[Tensor]
    ) -> ImageFeatures:
        """Compute what all queries of an image have in common.

        Args:
            feature_map (Tensor): The map that went into the encoder, (B, C, h, w).
            memory (Tensor): The same map encoded, as tokens, (B, h * w, C).
            padding (Tensor, optional): True where it shows padding only, (B, h, w).
            finer (Sequence[Tensor]): The backbone's finer maps, the coarsest first.
        """
        keys = self.k_linear(memory).unflatten(-1, (self.num_heads, -1))
        conv = self.convs[0].conv
        of_image = conv.weight[:, : -self.num_heads]
        return ImageFeatures(
            size=tuple(feature_map.shape[-2:]),
            keys=keys.permute(0, 2, 3, 1),
            padding=None if padding is None else padding.flatten(1),
            base=F.conv2d(feature_map, of_image, conv.bias, padding=1),
            finer=[adapter(x) for adapter, x in zip(self.adapters, finer)],
        )

    def forward(self, states: Tensor, image: Tensor | int, features: ImageFeatures) -> Tensor:
        """Predict the masks of N queries at once.

        Args:
            states (Tensor): The queries' hidden states, (N, C).
            image (Tensor | int): The image of each, long, (N, ), or of all.
            features (ImageFeatures): Of the images.

        Returns:
            Tensor: Mask logits at the size of the finest map, (N, h, w).
        """
        attention = self._attention(states, image, features)
        first, second, *others = self.convs
        of_attention = first.conv.weight[:, -self.num_heads :]
        x = features.base[image] + F.conv2d(attention, of_attention, padding=1)
        x = second(first.activate(first.norm(x)))
        for conv, finer in zip(others, features.finer):
            x = F.interpolate(x, size=finer.shape[-2:], mode='nearest')
            x = conv(x + finer[image])
        return self.conv_out(x)[:, 0]

    def _attention(self, states: Tensor, image: Tensor | int, features: ImageFeatures) -> Tensor:
        """Where N queries look, by head, (N, heads, h, w)."""
        queries = self.q_linear(states).unflatten(-1, (self.num_heads, 1, -1))
        queries = queries * queries.shape[-1] ** -0.5
        weights = (queries @ features.keys[image])[:, :, 0]
        if features.padding is not None:
            is_padding = features.padding[image].unsqueeze(-2)
            weights = weights.masked_fill(is_padding, -torch.inf)
        weights = weights.flatten(1).softmax(-1)
        if self.unit_attention:
            weights = weights * weights.shape[-1]
        return weights.view(-1, self.num_heads, *features.size)

    def loss(
        self, matches: Matches, states: Tensor, gts: GroundTruths, features: ImageFeatures
    ) -> dict[str, Tensor]:
        """Compute the losses of the masks of matched queries.

        Args:
            matches (Matches): Which query is trained on which gt, in the last decoder layer alone.
            states (Tensor): Hidden states of the matching queries in that layer, (B, M, C).
            gts (GroundTruths): The gts, with masks.
            features (ImageFeatures): Of the images.

        Returns:
            dict[str, Tensor]: ``loss_mask`` and ``loss_dice``, weighted, divided by the number of gts.
        """
        image = matches.pred // states.shape[1]
        states = states.flatten(0, 1)[matches.pred]
        chunks = [x.split(self.chunk_size) for x in (states, image, matches.gt)]
        targets = gts.masks.flatten(0, 1)
        total = 0.0
        for chunk in zip(*chunks):
            # Only crowded images have a second chunk; then none of them is kept for the backward pass.
            if len(chunks[0]) > 1:
                losses = checkpoint(self._losses, *chunk, targets, features, use_reentrant=False)
            else:
                losses = self._losses(*chunk, targets, features)
            total = total + losses
        loss_mask, loss_dice = total / mean_over_processes(gts.total, states.device)
        return dict(loss_mask=loss_mask, loss_dice=loss_dice)

    def _losses(
        self, states: Tensor, image: Tensor, gt: Tensor, targets: Tensor, features: ImageFeatures
    ) -> Tensor:
        """The sums of both losses over N queries, (2, ); ``gt`` is the index of the mask of each in ``targets``."""
        logits = self(states, image, features).float()
        logits = F.interpolate(logits[:, None], size=targets.shape[-2:], mode='bilinear')
        logits = logits.flatten(1)
        target = targets[gt].flatten(1).float()
        focal = self.loss_mask(logits, target, reduction_override='none').mean(1)
        dice = self.loss_dice(logits, target, reduction_override='none')
        return torch.stack([focal.sum(), dice.sum()])

    def predict(
        self,
        states: Tensor,
        features: ImageFeatures,
        results: InstanceList,
        batch_data_samples: SampleList,
        num_classes: int,
        rescale: bool = True,
    ) -> tuple[InstanceList, list[Tensor | None]]:
        """Add masks to the results of a detector.

        Args:
            states (Tensor): Hidden states of the matching queries in the last decoder layer, (B, M, C).
            features (ImageFeatures): Of the images.
            results (list[InstanceData]): The detector's, each with ``queries``, the index of the query of each result.
            batch_data_samples (list[DetDataSample]): The images' meta information.
            num_classes (int): Number of classes K.
            rescale (bool): Whether masks are for the image as it was loaded, or as it went into the model.

        Returns:
            tuple: Results with ``masks``, bool, (N, H, W), without ``queries``; of each image the panoptic map, int32,
            (H, W), see :func:`panoptic_map`, or None.
        """
        instances = []
        panoptic_maps = []
        for image, (result, sample) in enumerate(zip(results, batch_data_samples)):
            sizes = ImageSizes.from_meta(sample.metainfo, rescale)
            result = result[self._is_wanted(result)]
            queries, index = result.queries.unique(return_inverse=True)
            chunks = states[image, queries].split(self.chunk_size)
            logits = torch.cat([self(chunk, image, features).float() for chunk in chunks])
            instances.append(self._instances(result, logits[index], sizes))
            panoptic_maps.append(self._panoptic_map(result, logits, index, sizes, num_classes))
        return instances, panoptic_maps

    def _is_wanted(self, result: InstanceData) -> Tensor:
        """Which results need a mask, (N, )."""
        is_instance = self._is_instance(result)
        if self.num_things is None:
            return is_instance
        return is_instance | (result.scores > self.panoptic_score)

    def _is_instance(self, result: InstanceData) -> Tensor:
        is_instance = result.scores >= self.instance_score
        if self.num_things is not None:
            is_instance &= result.labels < self.num_things
        return is_instance

    def _instances(self, result: InstanceData, logits: Tensor, sizes: ImageSizes) -> InstanceData:
        is_instance = self._is_instance(result)
        chunks = logits[is_instance].split(self.chunk_size)
        instances = result[is_instance]
        instances.pop('queries')
        instances.masks = torch.cat([sizes.masks(chunk) for chunk in chunks])
        return instances

    def _panoptic_map(
        self,
        result: InstanceData,
        logits: Tensor,
        index: Tensor,
        sizes: ImageSizes,
        num_classes: int,
    ) -> Tensor | None:
        """The panoptic map of queries with a high score, in their order; ``index`` is each result's in ``logits``."""
        if self.num_things is None:
            return None
        # With sigmoid a query may have several results, the best one first.
        labels = index.new_full((len(logits),), num_classes)
        is_confident = result.scores > self.panoptic_score
        for position in reversed(is_confident.nonzero().flatten().tolist()):
            labels[index[position]] = result.labels[position]
        is_kept = labels < num_classes
        return panoptic_map(
            logits[is_kept], labels[is_kept], self.num_things, num_classes, sizes, self.chunk_size
        )
