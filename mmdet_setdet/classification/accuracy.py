"""Top-k accuracy of image classification."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from ..registry import METRICS


@METRICS.register_module()
class Accuracy(BaseMetric):
    """Percentage of images whose true class is among the k with the highest scores: ``accuracy/top1``, ...

    A class with the same score as the true one ranks ahead of it, and so does a class whose score is NaN. So a model
    that scores all classes alike, or with NaN, is never right.

    Args:
        topk (Sequence[int]): Values of k.
        collect_device (str): ``'cpu'`` or ``'gpu'``, where results of several processes are collected.
        prefix (str, optional): Prefix of the names of the results; ``'accuracy'`` by default.
    """

    default_prefix = 'accuracy'

    def __init__(
        self,
        topk: Sequence[int] = (1, 5),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = tuple(topk)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Store the rank of the true class per image: the number of classes ahead of it.

        Args:
            data_batch: Not used.
            data_samples (Sequence[dict]): ``pred_scores`` (K, ) and ``gt_label``.
        """
        scores = torch.stack([sample['pred_scores'] for sample in data_samples])
        labels = torch.tensor([sample['gt_label'] for sample in data_samples], device=scores.device)
        true_scores = scores.gather(1, labels[:, None])
        num_below = (scores < true_scores).sum(1)
        num_others = scores.shape[1] - 1
        self.results.extend((num_others - num_below).tolist())

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """Return ``top{k}`` -> percentage, 0 to 100."""
        ranks = np.array(results)
        return {f'top{k}': float(100 * (ranks < k).mean()) for k in self.topk}
