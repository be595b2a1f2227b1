"""An image classifier on a backbone of this package or of mmdet."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn import functional

from ..registry import MODELS

Samples = Sequence[BaseDataElement]


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A linear layer on the spatial mean of a backbone's last feature map.

    Shapes: images (B, 3, H, W) -> backbone: (B, C, h, w) -> mean: (B, C) -> head: logits (B, K).

    Args:
        backbone (dict): Config of the backbone. Only its last output is used, so its ``out_indices`` should ask for no
            other.
        in_channels (int): Channels C of that output.
        num_classes (int): Number of classes K.
        label_smoothing (float): Share of each target that is spread evenly over all classes, 0 to 1.
        data_preprocessor (dict, optional): Of type :class:`ClassPreprocessor` by default.
        init_cfg (dict, optional): Initialisation as in mmengine.
    """

    def __init__(
        self,
        backbone: dict,
        in_channels: int,
        num_classes: int,
        label_smoothing: float = 0.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = {'type': 'mmdet_setdet.ClassPreprocessor', **(data_preprocessor or {})}
        if preprocessor.get('augments'):
            preprocessor['num_classes'] = num_classes
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(in_channels, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.label_smoothing = label_smoothing

    def forward(
        self,
        inputs: Tensor,
        data_samples: Samples | None = None,
        targets: Tensor | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict | list[BaseDataElement]:
        """Compute logits, the loss or predictions.

        Args:
            inputs (Tensor): Normalised images (B, 3, H, W).
            data_samples (Sequence[BaseDataElement], optional): Data samples with ``gt_label``.
            targets (Tensor, optional): (B, K), used instead of the labels where images were mixed.
            mode (str): ``'tensor'`` for logits (B, K); ``'loss'`` for a dict of losses; ``'predict'`` for the data
                samples with ``pred_scores`` (K, ), which sum to one, and ``pred_label``.

        Raises:
            ValueError: ``mode`` is none of these.
        """
        features = self.backbone(inputs)[-1]
        logits = self.head(features.mean((2, 3)))
        if mode == 'tensor':
            return logits
        if mode == 'loss':
            if targets is None:
                targets = torch.tensor(
                    [sample.gt_label for sample in data_samples], device=logits.device
                )
            loss = functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
            return dict(loss=loss)
        if mode == 'predict':
            return self._predict(logits, data_samples)
        raise ValueError(f"mode={mode!r}: must be 'tensor', 'loss' or 'predict'")

    @staticmethod
    def _predict(logits: Tensor, data_samples: Samples | None) -> list[BaseDataElement]:
        if data_samples is None:
            data_samples = [BaseDataElement() for _ in logits]
        scores = (
            logits.float().softmax(1).cpu()
        )  # the only copy from the device, for the whole batch
        labels = scores.argmax(1).tolist()
        for sample, sample_scores, label in zip(data_samples, scores, labels):
            sample.pred_scores = sample_scores
            sample.pred_label = label
        return data_samples
