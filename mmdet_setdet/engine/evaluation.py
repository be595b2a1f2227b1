"""What a test computes from the predictions: results by name, and a file of the predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults
from mmengine.registry import METRICS

from ..errors import InputError

OURS = 'mmdet_setdet.CocoMetric'
# The last one is the fork's; all have the same arguments.
COCO_METRICS = (OURS, 'CocoMetric', 'mmdet.CocoMetric', 'FasterCocoMetric')


class _Result(NamedTuple):
    """How a config asks for a result.

    Attributes:
        metric (str): The metric class that computes it.
        argument (str, optional): Argument of the metric that lists results; None if it computes only this one.
    """

    metric: str
    argument: str | None


_RESULTS = {
    'bbox': _Result('CocoMetric', 'metric'),
    'segm': _Result('CocoMetric', 'metric'),
    'PQ': _Result('CocoPanopticMetric', None),
    'mIoU': _Result('IoUMetric', 'iou_metrics'),
    'accuracy': _Result('Accuracy', None),
}
RESULTS = tuple(_RESULTS)


def _metrics(evaluator) -> list[dict]:
    """Return the metrics of an evaluator config: a dict, a list of them, or ``dict(type='Evaluator', metrics=...)``."""
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    return [evaluator] if isinstance(evaluator, dict) else list(evaluator or [])


def _class_name(metric: dict) -> str:
    """Return the name of a metric's class, without a scope."""
    kind = metric['type']
    if kind in COCO_METRICS:
        return 'CocoMetric'
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def _has_masks(node) -> bool:
    """Return whether a model config has a part that predicts masks (``mask_head``, ``panoptic_head``, ...)."""
    if isinstance(node, (list, tuple)):
        return any(_has_masks(child) for child in node)
    if not isinstance(node, dict):
        return False
    for key, value in node.items():
        is_mask_head = key.endswith('head') and ('mask' in key or 'panoptic' in key)
        if is_mask_head and isinstance(value, (dict, list)):
            return True
        if _has_masks(value):
            return True
    return False


def select_metrics(evaluator, names: Sequence[str], model: dict, config: str) -> list[dict]:
    """Return the evaluator config that computes exactly the requested results.

    Args:
        evaluator (dict | list[dict]): The ``test_evaluator`` of a config.
        names (Sequence[str]): Some of ``bbox``, ``segm`` (CocoMetric, of which ours is taken), ``PQ``
            (CocoPanopticMetric), ``mIoU`` (IoUMetric), ``accuracy`` (Accuracy).
        model (dict): The config of the model: ``segm`` requires one that predicts masks.
        config (str): Path of the config, for the message.

    Raises:
        InputError: The config has no metric for a name; the message says which it has.
    """
    metrics = _metrics(evaluator)
    classes = {_class_name(metric) for metric in metrics}
    possible = [name for name, result in _RESULTS.items() if result.metric in classes]
    lacks_masks = 'segm' in possible and not _has_masks(model)
    if lacks_masks:
        possible.remove('segm')
    impossible = [name for name in names if name not in possible]
    if impossible:
        kinds = ', '.join(str(metric['type']) for metric in metrics) or 'nothing'
        reason = ' and predicts no masks' if lacks_masks and 'segm' in impossible else ''
        choices = ', '.join(possible) or f'none of {", ".join(RESULTS)}'
        raise InputError(
            f'--eval {" ".join(impossible)}: {config} evaluates with {kinds}{reason}, which can do: {choices}'
        )
    chosen = []
    for metric in metrics:
        requested = [
            name for name in dict.fromkeys(names) if _RESULTS[name].metric == _class_name(metric)
        ]
        if not requested:
            continue
        metric = ConfigDict(metric)
        if metric.type in COCO_METRICS:
            metric.type = OURS
        argument = _RESULTS[requested[0]].argument
        if argument is not None:
            metric[argument] = requested
        chosen.append(metric)
    return chosen


def report_classes(cfg: Config, folder: str) -> None:
    """Make the test of ``cfg`` write a table and pictures of the classes to ``folder``.

    Raises:
        InputError: The test has no COCO metric.
    """
    metrics = [ConfigDict(metric) for metric in _metrics(cfg.get('test_evaluator'))]
    reporting = [metric for metric in metrics if metric.type in COCO_METRICS]
    if not reporting:
        kinds = ', '.join(str(metric.type) for metric in metrics) or 'nothing'
        raise InputError(
            f'--report {folder}: needs CocoMetric, but {cfg.filename} evaluates with {kinds}; add --eval bbox if it '
            'can do that'
        )
    for metric in reporting:
        metric.update(type=OURS, report=folder)
    cfg.test_evaluator = metrics


@METRICS.register_module()
class DumpLabelMaps(DumpResults):
    """Pickle the predictions of a segmentor without the scores of every class, which would take 200 MB per image.

    The file holds a list of ``dict(img_path, pred_sem_seg)``, the latter (H, W) of the image in class numbers, int16.
    """

    def process(self, data_batch: dict, predictions: Sequence[dict]) -> None:
        label_maps = []
        for sample in predictions:
            labels = sample['pred_sem_seg']['data'][0].to(torch.int16)
            label_maps.append(dict(img_path=sample['img_path'], pred_sem_seg=labels))
        super().process(data_batch, label_maps)


def dump_predictions(cfg: Config, file: str) -> None:
    """Make the test of ``cfg`` write its predictions to ``file``.

    Raises:
        InputError: The name does not end like that of a pickle.
    """
    if Path(file).suffix not in ('.pkl', '.pickle'):
        raise InputError(f'--out {file}: predictions are pickled; give a name that ends in .pkl')
    kind = 'DumpLabelMaps' if cfg.get('default_scope') == 'mmseg' else 'mmdet.DumpDetResults'
    cfg.test_evaluator = [*_metrics(cfg.get('test_evaluator')), dict(type=kind, out_file_path=file)]
