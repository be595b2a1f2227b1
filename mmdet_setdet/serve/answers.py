"""What the page is told, as dicts for JSON: of the model, and of an image."""

import base64
from dataclasses import asdict

import numpy as np

from ..runtime import Detections, ModelInfo

LEAST_SCORE = 0.05  # boxes below it are not shown


def describe_model(info: ModelInfo, least_score: float = LEAST_SCORE) -> dict:
    """Return the fields of ``info``, and the least score of a box."""
    return dict(asdict(info), least_score=least_score)


def describe_objects(found: Detections, height: int, width: int) -> dict:
    """Return the objects in an image of ``height`` x ``width`` pixels; the form is told in ``page/detect.js``."""
    objects = []
    for index in range(len(found)):
        one = dict(
            box=_rounded(found.boxes[index]),
            score=round(float(found.scores[index]), 4),
            label=int(found.labels[index]),
        )
        if found.queries is not None:
            one['query'] = int(found.queries[index])
        objects.append(one)
    answer = dict(width=width, height=height, objects=objects)
    if found.layers is not None:
        answer['layers'] = [
            dict(boxes=_rounded(boxes), scores=scores.round(4).tolist(), labels=labels.tolist())
            for boxes, scores, labels in zip(
                found.layers.boxes, found.layers.scores.astype(float), found.layers.labels
            )
        ]
        if found.layers.attention is not None:
            _add_attention(answer, found.layers.attention)
    return answer


def _rounded(boxes: np.ndarray) -> list:
    return boxes.astype(float).round(1).tolist()


def _add_attention(answer: dict, attention: np.ndarray) -> None:
    """Add maps (N, h, w) as bytes: a fifth of their size as numbers. The most of each map is 255."""
    _, height, width = attention.shape
    answer['cells'] = dict(width=width, height=height)
    for one, cells in zip(answer['objects'], attention):
        levels = np.rint(cells * (255 / cells.max())).astype(np.uint8)
        one['attention'] = base64.b64encode(levels.tobytes()).decode()
