"""What every assigner does about matching costs that are NaN or infinite.

- A pair with such a cost is never matched.
- The first time that an assigner meets one, it warns and names the image, the ground truth and the prediction.
- If no cost of an image is finite, training stops with an error that names the image.
- Except in float16, where a single activation may overflow: Hungarian matching of a batch leaves the image without a
  match, its loss is NaN, and the loss scaler skips the step. Training stops if that happens in many steps in a row.
"""

from collections.abc import Sequence

import torch
from mmengine.logging import MMLogger

MAX_SKIPPED_STEPS = 10


def in_float16() -> bool:
    """Return whether this is computed under autocast to float16."""
    return any(
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
        for device in ('cuda', 'cpu')
    )


def image_name(metas: list[dict] | None, index: int) -> str:
    """Return the path of an image of the batch, or its position if the path is unknown."""
    meta = metas[index] if metas else {}
    return meta.get('img_path', f'image {index} of the batch')


class NonFiniteCosts:
    """Report costs that are NaN or infinite. Each assigner has one, so each warns once."""

    def __init__(self) -> None:
        self._has_warned = False
        self._may_skip = False
        self._skips = False
        self._skipped_before = 0

    def begin_step(self) -> None:
        """Begin a step of a whole batch, which a loss scaler may skip."""
        self._skipped_before = self._skipped_before + 1 if self._skips else 0
        self._skips = False
        self._may_skip = in_float16() and self._skipped_before < MAX_SKIPPED_STEPS

    def report(
        self, image: str, predictions: str, pairs: Sequence[Sequence[int]], num_costs: int
    ) -> None:
        """Warn of the pairs of one image whose cost is not finite.

        Args:
            image (str): The name of the image.
            predictions (str): Which predictions these are, for the message, e.g. 'decoder layer 0'.
            pairs (Sequence): Index of the ground truth and of the prediction of each pair, (P, 2), P >= 1.
            num_costs (int): Number of all costs of the image.

        Raises:
            FloatingPointError: No cost of the image is finite, and the step cannot be skipped.
        """
        gt, prediction = (int(index) for index in pairs[0])
        is_lost = len(pairs) == num_costs
        self._skips = self._skips or is_lost
        if is_lost and not self._may_skip:
            raise FloatingPointError(
                f'{image}: no matching cost between its ground truths and {predictions} is finite, from prediction '
                f'{prediction} on: the model has diverged (lower the learning rate) or the boxes of the image are NaN'
            )
        if not self._has_warned:
            self._has_warned = True
            MMLogger.get_current_instance().warning(
                f'{image}: {len(pairs)} of {num_costs} matching costs of {predictions} are not finite, the first '
                f'between ground truth {gt} and prediction {prediction}; such pairs are never matched. '
                'This warning is shown once.'
            )
