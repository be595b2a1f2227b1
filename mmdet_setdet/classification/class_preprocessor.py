"""From the batches of a data loader to the inputs of an image classifier."""

from collections.abc import Sequence

import torch
from mmengine.model import ImgDataPreprocessor
from torch.nn import functional

from ..registry import MODELS


@MODELS.register_module()
class ClassPreprocessor(ImgDataPreprocessor):
    """mmengine's preprocessor with augmentations of whole batches in training.

    Args:
        num_classes (int, optional): Number of classes K; set by :class:`ImageClassifier`.
        augments (Sequence[dict]): Configs of functions (images, targets) -> (images, targets), applied in turn.
        **kwargs: Arguments of ``ImgDataPreprocessor``: ``mean``, ``std``, ``bgr_to_rgb``, ...
    """

    def __init__(
        self,
        num_classes: int | None = None,
        augments: Sequence[dict] = (),
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.augments = [MODELS.build(augment) for augment in augments]

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise a batch; in training with augmentations, also add ``targets`` (B, K)."""
        images = data['inputs']
        if not torch.is_tensor(images) and len({image.shape for image in images}) == 1:
            # One copy to the device and one normalisation per batch instead of one per image.
            data = {**data, 'inputs': torch.stack(images)}
        data = super().forward(data, training)
        if training and self.augments:
            images = data['inputs']
            labels = torch.tensor(
                [sample.gt_label for sample in data['data_samples']], device=images.device
            )
            targets = functional.one_hot(labels, self.num_classes).to(images)
            for augment in self.augments:
                images, targets = augment(images, targets)
            data.update(inputs=images, targets=targets)
        return data
