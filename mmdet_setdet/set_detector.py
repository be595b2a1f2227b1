"""One class for those who want a detector and no config; the config stays in sight."""

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import torch
from mmdet.apis import inference_detector
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch import nn

from .datasets.pipelines import array_pipeline
from .engine.command_line import build_runner, load_config
from .engine.models import build_model
from .errors import InputError
from .export import export_model
from .export.describe import class_names
from .runtime import Detections
from .runtime.images import Picture, read_image


class SetDetector:
    """A detector that is trained, asked and exported.

    .. code:: python

        detector = SetDetector.from_config('dn_detr_r50_50e', data='my_images')
        detector.train()
        found = detector.predict('photo.jpg', score=0.5)
        detector.export('model.onnx')

    Attributes:
        config (Config): The config, complete; changes of it before :meth:`train` count.
        model (nn.Module): The model in evaluation mode, built when it is first needed.
    """

    def __init__(self, config: Config, checkpoint: str | Path | None = None) -> None:
        self.config = config
        self.checkpoint = None if checkpoint is None else str(checkpoint)

    @classmethod
    def from_config(
        cls,
        config: str | Path,
        data: str | Path | None = None,
        checkpoint: str | Path | None = None,
        work_dir: str | Path | None = None,
        **options: object,
    ) -> 'SetDetector':
        """Take a config of this package or of a file.

        Args:
            config (str | Path): Its name, ``'dn_detr_r50_50e'``, or a file.
            data (str | Path, optional): A folder of annotated images, see :func:`read_folder`; default: the config's.
            checkpoint (str | Path, optional): Trained weights.
            work_dir (str | Path, optional): Where logs and checkpoints go. Default: work_dirs/NAME.
            **options: Settings of the config to replace, with ``__`` for dots: ``model__num_queries=20``.

        Raises:
            InputError: There is no such config, nothing reads an option, or the folder cannot be used.
        """
        options = {name.replace('__', '.'): value for name, value in options.items()}
        folder = None if data is None else str(data)
        out = None if work_dir is None else str(work_dir)
        cfg = load_config(str(config), options, work_dir=out, data=folder)
        return cls(cfg, checkpoint)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: str | Path, work_dir: str | Path | None = None
    ) -> 'SetDetector':
        """Take a checkpoint that training wrote, which holds its config: its file, or a name in ``SETDET_WEIGHTS``.

        That config is a program, which is run: take only checkpoints that you trust, or :meth:`from_config` with
        ``checkpoint``, which reads the weights alone.

        Raises:
            InputError: It is no checkpoint, or has no config.
        """
        loaded = CheckpointLoader.load_checkpoint(str(checkpoint), 'cpu', logger='silent')
        text = (loaded.get('meta') or {}).get('cfg')
        if not text:
            raise InputError(
                f'{checkpoint}: it holds no config; use SetDetector.from_config(CONFIG, checkpoint=...)'
            )
        cfg = Config.fromstring(text, '.py')
        if work_dir is not None:
            cfg.work_dir = str(work_dir)
        return cls(cfg, checkpoint)

    @cached_property
    def model(self) -> nn.Module:
        self._enter_scope()
        model = build_model(self.config.model, self.checkpoint).eval()
        model.cfg = self.config
        return model

    def _enter_scope(self) -> None:
        init_default_scope(self.config.get('default_scope', 'mmdet'))

    @cached_property
    def classes(self) -> list[str]:
        """list[str]: Names of the classes: the checkpoint's or, without one, the data set's."""
        return class_names(self.model, self.config)

    @overload
    def predict(self, pictures: Picture, score: float = 0.0) -> Detections: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, pictures: Sequence[Picture], score: float = 0.0) -> list[Detections]: ...

    @torch.no_grad()
    def predict(
        self, pictures: Picture | Sequence[Picture], score: float = 0.0
    ) -> Detections | list[Detections]:
        """Detect objects, see :class:`mmdet_setdet.runtime.Detector`, whose arguments and results are the same."""
        if isinstance(pictures, str) or not isinstance(pictures, Sequence):
            return self.predict([pictures], score)[0]
        # mmdet's pipeline expects blue, green, red.
        images = [read_image(picture)[..., ::-1] for picture in pictures]
        self._enter_scope()
        results = []
        for sample in inference_detector(self.model, images, array_pipeline(self.config)):
            found = sample.pred_instances.cpu().numpy()
            detections = Detections(found.bboxes, found.scores, found.labels, self.classes)
            results.append(detections.above(score))
        return results

    def train(self, resume: bool = False) -> 'SetDetector':
        """Train as the config says; the newest checkpoint in ``work_dir`` is what :meth:`predict` uses then.

        Args:
            resume (bool): Whether to go on from the newest checkpoint in ``work_dir``.
        """
        cfg = copy.deepcopy(self.config)
        cfg.load_from = self.checkpoint
        cfg.resume = 'auto' if resume else False
        runner = build_runner(cfg)
        model = runner.train()
        self.__dict__.pop('classes', None)
        model.dataset_meta = runner.train_dataloader.dataset.metainfo
        model.cfg = self.config
        self.__dict__['model'] = model.eval()
        return self

    def val(self) -> dict[str, float]:
        """Evaluate on the validation images of the config; return the metrics, ``{'coco/bbox_mAP': 0.42, ...}``."""
        cfg = copy.deepcopy(self.config)
        cfg.test_dataloader = cfg.val_dataloader
        cfg.test_evaluator = cfg.val_evaluator
        runner = build_runner(cfg)
        runner.model.load_state_dict(self.model.state_dict())
        return runner.test()

    def export(self, path: str | Path, kind: str = 'onnx', **options: Any) -> Path:
        """Write the model to a file that runs without mmcv, see :func:`export_model` for the options."""
        path = Path(path)
        self._enter_scope()
        export_model(self.model, self.config, path, kind, **options)
        return path
