"""The boxes that a detector found in one image, whatever ran it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import supervision

Index = slice | np.ndarray  # of objects: a range, indices, or a mask


@dataclass
class Layers:
    """What every query of a set-prediction model says after each decoder layer.

    Attributes:
        boxes (np.ndarray): (x1, y1, x2, y2) in pixels of the image as it was given, (L, M, 4).
        scores (np.ndarray): Of the best class, (L, M).
        labels (np.ndarray): The best class, (L, M).
        attention (np.ndarray | None): How much the query of each object looks at each of h x w cells of the image in
            the last layer, adds up to one, float32 (N, h, w); None for models that do not attend to one whole map.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    attention: np.ndarray | None = None

    def of_objects(self, index: Index) -> 'Layers':
        """Return the same with the attention of some of the N objects."""
        if self.attention is None:
            return self
        return replace(self, attention=self.attention[index])


@dataclass
class Detections:
    """Detected objects of one image, best first.

    Attributes:
        boxes (np.ndarray): (x1, y1, x2, y2) in pixels of the image as it was given, float32 (N, 4).
        scores (np.ndarray): Confidence in [0, 1], float32 (N, ).
        labels (np.ndarray): Index of the class, int64 (N, ).
        classes (list[str]): Names of all classes.
        queries (np.ndarray | None): Which query found each object, (N, ); None unless the model was exported so.
        layers (Layers | None): All queries after all layers; None unless the model was exported so.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: list[str]
    queries: np.ndarray | None = None
    layers: Layers | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Index) -> 'Detections':
        queries = None if self.queries is None else self.queries[index]
        layers = None if self.layers is None else self.layers.of_objects(index)
        arrays = self.boxes[index], self.scores[index], self.labels[index]
        return Detections(*arrays, self.classes, queries, layers)

    @property
    def names(self) -> list[str]:
        """list[str]: The class of each object by its name."""
        return [self.classes[label] for label in self.labels]

    def above(self, score: float) -> 'Detections':
        """Return the objects whose score is at least ``score``."""
        return self[self.scores >= score]

    def to_coco(self, image_id: int, category_ids: list[int] | None = None) -> list[dict]:
        """Return COCO's results: dicts of ``image_id``, ``category_id``, ``bbox`` (x, y, w, h) and ``score``.

        Args:
            image_id (int): Id of the image in the annotation file.
            category_ids (list[int], optional): Id of each class there. Default: 1, 2, ... in the order of ``classes``.
        """
        ids = category_ids or range(1, len(self.classes) + 1)
        results = []
        for (x1, y1, x2, y2), score, label in zip(
            self.boxes.tolist(), self.scores.tolist(), self.labels.tolist()
        ):
            bbox = [x1, y1, x2 - x1, y2 - y1]
            results.append(dict(image_id=image_id, category_id=ids[label], bbox=bbox, score=score))
        return results

    def to_supervision(self) -> 'supervision.Detections':
        """Return ``supervision.Detections``, with the names under ``data['class_name']``."""
        import supervision

        return supervision.Detections(
            xyxy=self.boxes,
            confidence=self.scores,
            class_id=self.labels,
            data={'class_name': np.array(self.names)},
        )
