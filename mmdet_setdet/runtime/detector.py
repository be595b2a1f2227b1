"""An exported detector, from pictures to boxes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from ..errors import InputError
from . import dense
from .backends import open_session
from .detections import Detections, Layers
from .images import Picture, read_image, resized, to_batch
from .metadata import ModelInfo


class Detector:
    """A detector that ``setdet export`` wrote; needs neither torch nor mmcv.

    .. code:: python

        detector = Detector('model.onnx')
        found = detector('photo.jpg')
        print(found.names, found.scores, found.boxes)

    Calls from several threads may run at the same time.

    Args:
        path (str | Path): The ``.onnx`` file, or OpenVINO's ``.xml``.
        threads (int, optional): Number of threads of a call; by default as many as there are cores.

    Attributes:
        info (ModelInfo): What the file says about the model.

    Raises:
        InputError: The file is missing or broken, holds another kind of model, or the program that runs it is not
            installed.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self.session = open_session(Path(path), threads)
        self.info: ModelInfo = self.session.info
        if self.info.task != 'detection' or self.info.outputs != 'results':
            raise InputError(
                f'{path} was exported for {self.info.task} with {self.info.outputs} outputs, not as a detector'
            )

    # Text is a sequence, too; of what is neither list nor tuple there is one picture.
    @overload
    def __call__(self, pictures: Picture, score: float = 0.0) -> Detections: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, pictures: Sequence[Picture], score: float = 0.0) -> list[Detections]: ...

    def __call__(
        self, pictures: Picture | Sequence[Picture], score: float = 0.0
    ) -> Detections | list[Detections]:
        """Detect objects.

        Args:
            pictures (str | Path | Image | np.ndarray | Sequence): One picture, see :func:`read_image`, or several,
                which are one batch; their sizes may differ.
            score (float): The least score of the boxes to return.

        Returns:
            Detections | list[Detections]: Of the picture, or of each picture.

        Raises:
            InputError: A picture cannot be read.
        """
        if isinstance(pictures, str) or not isinstance(pictures, Sequence):
            return self([pictures], score)[0]
        results = []
        for batch in self._batches([read_image(picture) for picture in pictures]):
            results += self._detect(batch)
        return [result.above(score) for result in results]

    def _batches(self, images: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
        size = self.info.fixed.get('batch', len(images)) or 1
        for first in range(0, len(images), size):
            yield images[first : first + size]

    def _detect(self, images: list[np.ndarray]) -> list[Detections]:
        inputs = [resized(image, self.info) for image in images]
        # A model of a fixed batch size gets the last picture again and again.
        missing = self.info.fixed.get('batch', len(images)) - len(images)
        tensor, sizes = to_batch(inputs + inputs[-1:] * missing, self.info)
        outputs = self.session(images=tensor, sizes=sizes)
        results = []
        for index, (image, size) in enumerate(zip(images, sizes)):
            output = {name: array[index] for name, array in outputs.items()}
            if self.info.nms is not None:
                output = dense.select(output, tensor.shape[2:], size, self.info.nms)
            if self.info.max_overlap is not None:
                output = dense.without_duplicates(output, self.info.max_overlap)
            if 'attention' in output:
                output['attention'] = _without_padding(output['attention'], size, tensor.shape[2:])
            results.append(self._in_pixels(output, image, size))
        return results

    def _in_pixels(
        self, output: dict[str, np.ndarray], image: np.ndarray, size: np.ndarray
    ) -> Detections:
        """Scale boxes from the resized image, ``size`` (height, width), to the original one and clip them to it."""
        height, width = image.shape[:2]
        factor = np.array([width, height] * 2) / np.tile(size[::-1], 2)

        def scaled(boxes: np.ndarray) -> np.ndarray:
            return (boxes * factor).clip(0, [width, height] * 2).astype(np.float32)

        layers = None
        if 'layer_boxes' in output:
            boxes, scores, labels = (
                output[f'layer_{name}'] for name in ('boxes', 'scores', 'labels')
            )
            layers = Layers(scaled(boxes), scores, labels, output.get('attention'))
        return Detections(
            boxes=scaled(output['boxes']),
            scores=output['scores'].astype(np.float32),
            labels=output['labels'].astype(np.int64),
            classes=self.info.classes,
            queries=output.get('queries'),
            layers=layers,
        )


def _without_padding(
    attention: np.ndarray, size: np.ndarray, input_size: tuple[int, int]
) -> np.ndarray:
    """Cut maps (N, h, w) of a padded input to the cells that begin within the image, as the model does."""
    height, width = np.ceil(size * attention.shape[1:] / input_size).astype(int)
    return attention[:, :height, :width]
