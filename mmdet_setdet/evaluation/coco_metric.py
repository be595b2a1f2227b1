"""mmdet's COCO metric, sooner where faster-coco-eval is installed, and with a report of the classes."""

from collections.abc import Sequence
from pathlib import Path

from mmdet.evaluation import metrics
from mmdet.evaluation.metrics import coco_metric
from pycocotools.cocoeval import COCOeval

from ..checks.data_sets import replaced
from ..registry import METRICS
from .coco_report import write_report

try:
    from faster_coco_eval import COCOeval_faster
except ImportError:
    COCOeval_faster = COCOeval


class FastCOCOeval(COCOeval_faster):
    """An evaluation in C++ that is summed up as pycocotools does it.

    There ``AP`` counts the best 100 results of a class in an image and the other figures count ``maxDets[2]``;
    faster-coco-eval takes the last of ``maxDets`` for all of them, so that a DETR with 300 results gets another AP.
    """

    summarize = COCOeval.summarize


@METRICS.register_module()
class CocoMetric(metrics.CocoMetric):
    """mmdet's ``CocoMetric`` with the same figures, computed by faster-coco-eval where that is installed.

    Args:
        *args: As of mmdet's.
        report (str, optional): Folder for a table and pictures of the classes, see :func:`write_report`.
        **kwargs: As of mmdet's.
    """

    def __init__(self, *args, report: str | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.report = report
        if report is not None:
            self.classwise = True
            self.use_mp_eval = False

    def compute_metrics(self, results: Sequence[tuple]) -> dict[str, float]:
        evaluations = []

        def evaluation(*args) -> COCOeval:
            evaluations.append(FastCOCOeval(*args))
            return evaluations[-1]

        with replaced(coco_metric, 'COCOeval', evaluation):
            figures = super().compute_metrics(results)
        if self.report is not None:
            for done in evaluations:
                write_report(done, Path(self.report))
        return figures
