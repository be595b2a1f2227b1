"""Image classification with a backbone of this package or of mmdet, on mmengine alone."""
from collections.abc import Sequence

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn import functional

from ...registry import MODELS


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A linear layer on the mean of a backbone's last map.

    A batch flows: images (B, 3, H, W) -> backbone: (B, C, h, w) -> mean: (B, C) -> head: logits (B, classes).

    Args:
        backbone (dict): Its last output is taken; the config's ``out_indices`` should ask for no other.
        in_channels (int): Channels C of that output.
        num_classes (int): Of the data set.
        label_smoothing (float): Share of each target that is spread over all classes evenly, 0 to 1.
        data_preprocessor (dict, optional): By default of type :class:`ClassPreprocessor`.
        init_cfg (dict, optional): As in mmengine.
    """

    def __init__(self, backbone: dict, in_channels: int, num_classes: int, label_smoothing: float = 0.,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None) -> None:
        preprocessor = {'type': 'mmdet_setdet.ClassPreprocessor', **(data_preprocessor or {})}
        if preprocessor.get('augments'):
            preprocessor['num_classes'] = num_classes
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(in_channels, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.label_smoothing = label_smoothing

    def forward(self, inputs: Tensor, data_samples: Sequence[BaseDataElement] | None = None,
                targets: Tensor | None = None, mode: str = 'tensor') -> Tensor | dict | list[BaseDataElement]:
        """Logits, loss or results.

        Args:
            inputs (Tensor): Normalised images (B, 3, H, W).
            data_samples (Sequence[BaseDataElement], optional): Their ``gt_label`` is the truth.
            targets (Tensor, optional): (B, classes) in place of the labels, where images were mixed.
            mode (str): ``'tensor'``: logits (B, classes). ``'loss'``: a dict. ``'predict'``: the data samples with
                ``pred_scores`` (classes, ), which sum to one, and ``pred_label``.
        """
        logits = self.head(self.backbone(inputs)[-1].mean((2, 3)))
        if mode == 'tensor':
            return logits
        if mode == 'loss':
            if targets is None:
                targets = torch.tensor([sample.gt_label for sample in data_samples], device=logits.device)
            return dict(loss=functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing))
        if mode == 'predict':
            return self._results(logits, data_samples)
        raise ValueError(f"mode={mode!r}: must be 'tensor', 'loss' or 'predict'")

    @staticmethod
    def _results(logits: Tensor, samples: Sequence[BaseDataElement] | None) -> list[BaseDataElement]:
        samples = [BaseDataElement() for _ in logits] if samples is None else samples
        all_scores = logits.float().softmax(1).cpu()  # the only copy from the device, for the whole batch
        for sample, scores, label in zip(samples, all_scores, all_scores.argmax(1).tolist()):
            sample.pred_scores, sample.pred_label = scores, label
        return samples
