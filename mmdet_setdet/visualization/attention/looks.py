"""Where the queries and the tokens of a DETR look in one image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.models.detectors import DetectionTransformer
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ...models.detectors import DETR
from ...models.layers import FeatureLevels, SamplingPoints, recording


@dataclass
class HeatMaps:
    """How much each of N queries looks at each cell of a map.

    Attributes:
        cells (np.ndarray): The mean over heads, adds up to one, (N, h, w).
        extent (np.ndarray): Width and height of the map as shares of the image; above 1 with padding, (2, ).
    """

    cells: np.ndarray
    extent: np.ndarray


@dataclass
class Samples:
    """The points that each of N queries samples.

    Attributes:
        points (np.ndarray): (x, y) as shares of the image, (N, heads, L, points, 2).
        weights (np.ndarray): Add up to one for each query and head, (N, heads, L, points).
    """

    points: np.ndarray
    weights: np.ndarray


@dataclass
class Look:
    """What a detector finds in one image, and where it looks.

    Attributes:
        boxes (np.ndarray): Of each query, (x1, y1, x2, y2) as shares of the image, (M, 4).
        scores (np.ndarray): Of its best class, (M, ).
        labels (np.ndarray): Its best class, (M, ).
        classes (Sequence[str]): Names of all classes.
        decoder (HeatMaps | Samples): Where the queries look, N = M.
        encoder (HeatMaps | Samples): Where the tokens look, N = S.
        grid (tuple[int, int]): Height and width of the first feature map, whose cells are the first tokens.
        extent (np.ndarray): Width and height of the maps as shares of the image, (2, ).
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]
    decoder: HeatMaps | Samples
    encoder: HeatMaps | Samples
    grid: tuple[int, int]
    extent: np.ndarray

    def describe(self, query: int) -> str:
        """Return number, class and score of a query."""
        name = self.classes[self.labels[query]]
        return f'query {query}: {name} {self.scores[query]:.2f}'

    def best_queries(self, score: float, limit: int) -> list[int]:
        """Return the queries with at least a score, best first, not more than ``limit``."""
        best = np.argsort(-self.scores, kind='stable')[:limit]
        return best[self.scores[best] >= score].tolist()

    def centres(self, queries: Sequence[int]) -> np.ndarray:
        """Return the centres of the boxes of queries as shares of the image, (N, 2)."""
        return self.boxes[queries].reshape(-1, 2, 2).mean(1)

    def tokens_at(self, points: np.ndarray) -> list[int]:
        """Return the tokens of the first feature map at points, which are shares of the image, (N, 2)."""
        height, width = self.grid
        columns, rows = (points / self.extent * [width, height]).astype(int).T
        tokens = rows.clip(0, height - 1) * width + columns.clip(0, width - 1)
        return tokens.tolist()


def check_attention(model: nn.Module, layer: int) -> None:
    """Check that a model has attention to draw, and so many layers.

    Raises:
        InputError: It has not.
    """
    name = type(model).__name__
    if not isinstance(model, DETR):
        is_mmdets = isinstance(model, DetectionTransformer)
        advice = f"; set model.type='mmdet_setdet.{name}'" if is_mmdets else ''
        raise InputError(
            f"{name}: attention can be drawn for this package's detectors of the DETR family{advice}"
        )
    for part in ('encoder', 'decoder'):
        count = getattr(model, part).num_layers
        if not -count <= layer < count:
            raise InputError(
                f'--layer {layer}: the {part} has {count} layers, 0 to {count - 1}, or -1 for the last'
            )


@torch.no_grad()
def look(model: DETR, packed: dict, classes: Sequence[str], layer: int = -1) -> Look:
    """Run a detector on one image.

    Args:
        model (DETR): A detector that :func:`check_attention` accepts, in evaluation mode.
        packed (dict): The image as packed by a test pipeline.
        classes (Sequence[str]): Names of the classes.
        layer (int): Of the encoder and of the decoder, whose attention to return. Boxes are those of the last layer.
    """
    data = model.data_preprocessor(pseudo_collate([packed]), False)
    [sample] = data['data_samples']
    tokens = model.pre_transformer(model.extract_feat(data['inputs']), [sample])
    of_tokens = model.encoder.layers[layer].self_attn
    of_queries = model.decoder.layers[layer].cross_attn
    with recording(of_tokens) as token_notes, recording(of_queries) as query_notes:
        states, encoded = model.decode_tokens(*tokens)
    logits, boxes = model.bbox_head.last_layer(**states)
    scores, labels = model.bbox_head.class_scores(logits[0]).max(-1)
    input_size, image_size = (
        np.array(size[1::-1]) for size in (sample.batch_input_shape, sample.img_shape)
    )
    extent = input_size / image_size
    levels = encoded['levels']
    return Look(
        boxes=bbox_cxcywh_to_xyxy(boxes[0]).clamp(0, 1).numpy(),
        scores=scores.numpy(),
        labels=labels.numpy(),
        classes=classes,
        decoder=_read(query_notes, levels, extent),
        encoder=_read(token_notes, levels, extent),
        grid=levels.shapes[0],
        extent=extent,
    )


def _read(
    notes: list[Tensor | SamplingPoints], levels: FeatureLevels, extent: np.ndarray
) -> HeatMaps | Samples:
    """Read what :func:`recording` returns for one image and one run."""
    first, *weights = notes
    if isinstance(first, SamplingPoints):
        return Samples(first.points[0].numpy() * extent, first.weights[0].numpy())
    if weights:
        cells = _mix_levels(first[0], [each[0].mean(0) for each in weights], levels)
    else:
        cells = first[0].mean(0).unflatten(1, levels.shapes[0])
    return HeatMaps(cells.numpy(), extent)


def _mix_levels(shares: Tensor, weights: Sequence[Tensor], levels: FeatureLevels) -> Tensor:
    """Spread weights (N, S of a level) of L levels over the cells of the first, by shares (N, L): (N, h, w)."""
    mixed = 0.0
    for share, level, shape in zip(shares.T, weights, levels.shapes):
        cells = level.unflatten(1, shape)[None]
        cells = F.interpolate(cells, levels.shapes[0])[0]
        mixed = mixed + share[:, None, None] * cells / cells.sum((1, 2), keepdim=True)
    return mixed
