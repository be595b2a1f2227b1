"""What every assigner does about matching costs that are NaN or infinite.

- A pair with such a cost is never matched.
- The first time that an assigner meets one, it warns and names the image, the ground truth and the prediction.
- If no cost of an image is finite, training stops with an error that names the image.
"""

from collections.abc import Sequence

from mmengine.logging import MMLogger


def image_name(metas: list[dict] | None, index: int) -> str:
    """Return the path of an image of the batch, or its position if the path is unknown."""
    meta = metas[index] if metas else {}
    return meta.get('img_path', f'image {index} of the batch')


class NonFiniteCosts:
    """Report costs that are NaN or infinite. Each assigner has one, so each warns once."""

    def __init__(self) -> None:
        self._has_warned = False

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
            FloatingPointError: No cost of the image is finite.
        """
        gt, prediction = (int(index) for index in pairs[0])
        if len(pairs) == num_costs:
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
