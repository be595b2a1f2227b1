"""Models as graphs of tensors: what an exported file computes."""

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import AnchorHead, FCOSHead
from mmdet.models.detectors import SingleStageDetector
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from torch import Tensor, nn

from ..classification import ImageClassifier
from ..errors import InputError
from ..models.backbones import CrossFormer
from ..models.dense_heads import OTAHead
from ..models.detectors import DETR
from ..models.layers import DeformableAttention, FeatureLevels, recording


class Graph(nn.Module):
    """A model whose inputs and outputs are tensors alone.

    Attributes:
        outputs (tuple[str, ...]): Names of the outputs.
    """

    outputs: tuple[str, ...]

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.eval()

    @property
    def may_change(self) -> tuple[str, ...]:
        """tuple[str, ...]: What may change from call to call, of 'batch', 'height' and 'width'."""
        # CrossFormer's groups are computed for the size of the map.
        fixed = isinstance(getattr(self.model, 'backbone', None), CrossFormer)
        return ('batch',) if fixed else ('batch', 'height', 'width')

    def choose_dynamic(self, wanted: Sequence[str] | None) -> tuple[str, ...]:
        """Return what shall change: what the user asked for, or everything possible.

        Raises:
            InputError: The model cannot do it.
        """
        if wanted is None:
            return self.may_change
        impossible = [name for name in wanted if name not in self.may_change]
        if impossible:
            backbone = type(self.model.backbone).__name__
            raise InputError(
                f'--dynamic {" ".join(impossible)}: with {backbone} only {" ".join(self.may_change)} may change; '
                f'choose the size of the input by --size'
            )
        return tuple(wanted)


class SetGraph(Graph):
    """A DETR: the queries' best boxes, in pixels of the padded input.

    Args:
        model (DETR): The detector.
        raw (bool): Whether to return ``logits`` (B, M, K or K + 1) and ``boxes`` (cx, cy, w, h) in [0, 1] of the image
            without padding, (B, M, 4), of all queries instead.
        with_layers (bool): Whether to return also what each query says after each of L decoder layers:
            ``layer_boxes`` (B, L, M, 4), ``layer_scores`` and ``layer_labels`` (B, L, M). Where the decoder attends to
            one map of h x w cells, also ``attention`` (B, N, h, w): how much each of the N boxes' queries looks at each
            cell in the last layer, the mean over heads. It adds up to one and is zero on padding.
    """

    def __init__(self, model: DETR, raw: bool = False, with_layers: bool = False) -> None:
        super().__init__(model)
        self.raw = raw
        self.with_layers = with_layers
        self.outputs = ('logits', 'boxes') if raw else ('boxes', 'scores', 'labels', 'queries')
        if with_layers:
            self.outputs += ('layer_boxes', 'layer_scores', 'layer_labels')
        is_plain = not isinstance(self.last_attention, DeformableAttention)
        if with_layers and is_plain and model.num_feature_levels == 1:
            self.outputs += ('attention',)

    @property
    def last_attention(self) -> nn.Module:
        """nn.Module: The cross attention of the last decoder layer."""
        return self.model.decoder.layers[-1].cross_attn

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Detect.

        Args:
            images (Tensor): Normalised and padded images, (B, 3, H, W).
            sizes (Tensor): Height and width of each image without padding, (B, 2), integers.

        Returns:
            tuple[Tensor, ...]: See ``outputs``: ``boxes`` (B, N, 4), ``scores``, ``labels`` and ``queries`` (B, N).
        """
        feats = self.model.extract_feat(images)[-self.model.num_feature_levels :]
        levels = FeatureLevels.from_maps(feats, sizes, tuple(images.shape[-2:]))
        with recording(self.last_attention) as notes:
            states, _ = self.model.decode_tokens(*self.model.tokenize(feats, levels))
        head = self.model.bbox_head
        logits, boxes = head.last_layer(**states)
        if self.raw:
            return logits, boxes
        boxes, *others = head.best(logits, boxes)
        sides = sizes.flip(1).repeat(1, 2)[:, None].to(boxes.dtype)
        results = (_in_pixels(boxes, sides), *others)
        if not self.with_layers:
            return results
        logits, boxes = (state.transpose(0, 1) for state in head(**states))
        scores, labels = head.class_scores(logits.float()).max(-1)
        results = (*results, _in_pixels(boxes, sides[:, None]), scores, labels)
        if 'attention' not in self.outputs:
            return results
        *_, queries = others
        [weights] = notes
        return *results, _of_queries(weights.mean(1), queries).unflatten(2, levels.shapes[0])


class DenseGraph(Graph):
    """A dense detector: all its boxes, which the runtime thins out by NMS.

    ``boxes`` (B, N, 4) in pixels of the padded input, ``scores`` (B, N, K), and for heads with a factor of the score
    (centerness) ``factors`` (B, N).
    """

    def __init__(self, model: SingleStageDetector) -> None:
        super().__init__(model)
        head = model.bbox_head
        self.has_factors = hasattr(head, 'conv_centerness') or hasattr(head, 'atss_centerness')
        self.has_factors &= not isinstance(head, OTAHead)
        self.outputs = ('boxes', 'scores', 'factors') if self.has_factors else ('boxes', 'scores')

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Detect; inputs as of :meth:`SetGraph.forward`, outputs as of the class."""
        head = self.model.bbox_head
        class_maps, box_maps, *factor_maps = head(self.model.extract_feat(images))
        class_logits = _by_prior(class_maps, head.cls_out_channels)
        factor_logits = _by_prior(factor_maps[0], 1)[..., 0] if factor_maps else None
        map_sizes = [level.shape[-2:] for level in class_maps]
        priors = torch.cat(head.prior_generator.grid_priors(map_sizes, device=images.device))
        # mmdet's coders take the boxes of one image; those of a batch look like more of them.
        batch_size = images.shape[0]
        changes = _by_prior(box_maps, 4).flatten(0, 1)
        boxes = head.bbox_coder.decode(priors.repeat(batch_size, 1), changes)
        boxes = boxes.unflatten(0, (batch_size, -1))
        if head.bbox_coder.clip_border:
            sides = sizes.flip(1).repeat(1, 2)[:, None].to(boxes.dtype)
            boxes = boxes.clamp(min=0).minimum(sides)
        if isinstance(head, OTAHead):
            return boxes, head.joint_logits(class_logits, factor_logits[..., None]).sigmoid()
        scores = class_logits.sigmoid()
        return (boxes, scores, factor_logits.sigmoid()) if self.has_factors else (boxes, scores)


class ClassGraph(Graph):
    """A classifier: ``scores`` (B, K), which sum to one."""

    outputs = ('scores',)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Classify normalised images (B, 3, H, W)."""
        return (self.model(images).softmax(1),)


def _in_pixels(boxes: Tensor, sides: Tensor) -> Tensor:
    return bbox_cxcywh_to_xyxy(boxes).clamp(0, 1) * sides


def _of_queries(values: Tensor, queries: Tensor) -> Tensor:
    """Of values (B, M, S) those of N queries (B, N): (B, N, S)."""
    return values.gather(1, queries[..., None].expand(-1, -1, values.shape[2]))


def _by_prior(maps: Sequence[Tensor], channels: int) -> Tensor:
    """Flatten maps (B, A * channels, h, w) of all levels to (B, N, channels), A priors per cell side by side."""
    flat = [x.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, channels)) for x in maps]
    return torch.cat(flat, 1)


def make_graph(model: nn.Module, raw: bool = False, with_layers: bool = False) -> Graph:
    """Return the graph of a model.

    Args:
        model (nn.Module): A detector or classifier.
        raw (bool): Whether to leave out the choice of the best boxes, see :class:`SetGraph`.
        with_layers (bool): Whether to add what queries say after each decoder layer, see :class:`SetGraph`.

    Raises:
        InputError: Models of this type cannot be exported, or not with raw outputs.
    """
    if isinstance(model, DETR):
        if model.mask_head is not None:
            raise InputError(
                f'{type(model).__name__} with a mask head cannot be exported, as masks are not among the outputs; '
                'for its boxes alone, export the checkpoint and the config that it was built on'
            )
        return SetGraph(model, raw, with_layers)
    if raw or with_layers:
        raise InputError(f'{type(model).__name__}: --raw and --layers are for DETRs only')
    if isinstance(model, ImageClassifier):
        return ClassGraph(model)
    head = getattr(model, 'bbox_head', None)
    known_head = isinstance(head, AnchorHead | FCOSHead)
    if isinstance(model, SingleStageDetector) and known_head and head.loss_cls.use_sigmoid:
        return DenseGraph(model)
    name = (
        type(model).__name__
        if head is None
        else f'{type(model).__name__} with {type(head).__name__}'
    )
    raise InputError(
        f'{name} cannot be exported; there are graphs of the DETRs of this package, of RetinaNet, ATSS, FCOS and OTA, '
        'and of the classifier'
    )
