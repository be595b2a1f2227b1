"""Tests of exported models: the same images, evaluator and pictures as for a checkpoint."""

from collections.abc import Sequence

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, from_numpy

from ..checks.classes import head_class_counts
from ..datasets.pipelines import with_pipeline
from ..errors import InputError
from ..registry import MODELS
from ..runtime import Detector
from ..runtime.backends import SESSIONS


@MODELS.register_module()
class ExportedDetector(BaseModel):
    """An exported detector in place of the model of a config; it resizes and normalises images itself.

    Args:
        file (str): What ``setdet export`` wrote.
        num_classes (int, optional): Number of classes of the config, if its model tells it.

    Raises:
        InputError: The file cannot be used, or has another number of classes.
    """

    def __init__(self, file: str, num_classes: int | None = None) -> None:
        super().__init__()
        self.detector = Detector(file)
        exported = len(self.detector.info.classes)
        if num_classes not in (None, exported):
            raise InputError(
                f'{file}: it was exported with {exported} classes, and the config has {num_classes}; give the config '
                'that it was exported with'
            )

    def forward(
        self, inputs: Sequence[Tensor], data_samples: Sequence[BaseDataElement], mode: str
    ) -> Sequence[BaseDataElement]:
        """Detect in images (3, H, W) of uint8, blue, green, red; the boxes are in their pixels.

        Returns:
            Sequence[DetDataSample]: The samples with ``pred_instances``.
        """
        images = [image.cpu().flip(0).permute(1, 2, 0).contiguous().numpy() for image in inputs]
        for sample, found in zip(data_samples, self.detector(images)):
            sample.pred_instances = InstanceData(
                bboxes=from_numpy(found.boxes),
                scores=from_numpy(found.scores),
                labels=from_numpy(found.labels),
            )
        return data_samples


def is_exported(file: str) -> bool:
    """Whether a file is an exported model, by its name."""
    return file.endswith(tuple(SESSIONS))


def use_exported(cfg: Config, file: str) -> None:
    """Make the test of ``cfg`` run an exported detector, to which images come as they were loaded."""
    counts = dict(head_class_counts(cfg.model, 'model'))
    num_classes = max(counts.values(), default=None)
    cfg.model = dict(type='mmdet_setdet.ExportedDetector', file=file, num_classes=num_classes)
    dataset = with_pipeline(cfg.test_dataloader.dataset)
    dataset.pipeline = [step for step in dataset.pipeline if not step['type'].endswith('Resize')]
