"""Top-k accuracy of image classification."""
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from ..registry import METRICS


@METRICS.register_module()
class Accuracy(BaseMetric):
    """Percentage of images whose true class is among the k with the highest scores: ``accuracy/top1``, ...

    A class that scores as high as the true one counts as ahead of it, and so does one whose score is NaN: a model that
    says nothing is right about nothing.

    Args:
        topk (Sequence[int]): The k.
        collect_device (str): ``'cpu'`` or ``'gpu'``, where results of several processes meet.
        prefix (str): What the names of the results begin with.
    """

    default_prefix = 'accuracy'

    def __init__(self, topk: Sequence[int] = (1, 5), collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = tuple(topk)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keeps, for each image, how many classes are ahead of the true one.

        Args:
            data_batch: Not used.
            data_samples (Sequence[dict]): With ``pred_scores`` (classes, ) and ``gt_label``.
        """
        scores = torch.stack([sample['pred_scores'] for sample in data_samples])
        labels = torch.tensor([sample['gt_label'] for sample in data_samples], device=scores.device)
        behind = (scores < scores.gather(1, labels[:, None])).sum(1)
        self.results.extend((scores.shape[1] - 1 - behind).tolist())

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """``topK`` -> percent, 0 to 100."""
        ahead = np.array(results)
        return {f'top{k}': float(100 * (ahead < k).mean()) for k in self.topk}
