"""From what a data loader gives to what an image classifier takes."""
from collections.abc import Sequence

import torch
from mmengine.model import ImgDataPreprocessor
from torch.nn import functional

from ...registry import MODELS


@MODELS.register_module()
class ClassPreprocessor(ImgDataPreprocessor):
    """mmengine's preprocessor, with augmentations of whole batches in training.

    Args:
        num_classes (int, optional): Of the data set; :class:`ImageClassifier` sets it.
        augments (Sequence[dict]): Configs of functions ``(images, targets) -> (images, targets)``, applied in turn.
        **kwargs: ``mean``, ``std``, ``bgr_to_rgb``, ...
    """

    def __init__(self, num_classes: int | None = None, augments: Sequence[dict] = (), **kwargs) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.augments = [MODELS.build(augment) for augment in augments]

    def forward(self, data: dict, training: bool = False) -> dict:
        """As in mmengine; with augmentations, in training, ``targets`` (B, classes) are added."""
        images = data['inputs']
        if not torch.is_tensor(images) and len({image.shape for image in images}) == 1:
            # One copy to the device and one normalisation, not one an image.
            data = {**data, 'inputs': torch.stack(images)}
        data = super().forward(data, training)
        if training and self.augments:
            labels = torch.tensor([sample.gt_label for sample in data['data_samples']], device=data['inputs'].device)
            images, targets = data['inputs'], functional.one_hot(labels, self.num_classes).to(data['inputs'])
            for augment in self.augments:
                images, targets = augment(images, targets)
            data.update(inputs=images, targets=targets)
        return data
