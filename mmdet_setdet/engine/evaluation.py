"""What tools/test.py makes of a config's predictions: results by name, a file, pictures."""
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults
from mmengine.registry import METRICS

from ..errors import InputError

# name of the result: (metric class that computes it, its argument that takes such names or None, the value)
_RESULTS = {'bbox': ('CocoMetric', 'metric', 'bbox'), 'segm': ('CocoMetric', 'metric', 'segm'),
            'mIoU': ('IoUMetric', 'iou_metrics', 'mIoU'), 'accuracy': ('Accuracy', None, None)}
RESULTS = tuple(_RESULTS)


def _metrics(evaluator) -> list[dict]:
    """The metrics of an evaluator config: one dict, a list of them, or ``dict(type='Evaluator', metrics=...)``."""
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    return [evaluator] if isinstance(evaluator, dict) else list(evaluator or [])


def _computes(metric: dict, kind: str) -> bool:
    name = metric['type'] if isinstance(metric['type'], str) else metric['type'].__name__
    return name.split('.')[-1] == kind


def _has_masks(node) -> bool:
    """Whether a model config has a part that predicts masks (``mask_head``, ``panoptic_head``, ...)."""
    if isinstance(node, (list, tuple)):
        return any(map(_has_masks, node))
    if not isinstance(node, dict):
        return False
    return any(('mask' in key or 'panoptic' in key) and key.endswith('head') and isinstance(value, (dict, list))
               or _has_masks(value) for key, value in node.items())


def select_metrics(evaluator, names: Sequence[str], model: dict, config: str) -> list[dict]:
    """The evaluator config that computes exactly the results asked for.

    Args:
        evaluator (dict | list[dict]): The ``test_evaluator`` of a config.
        names (Sequence[str]): Of ``bbox``, ``segm`` (CocoMetric), ``mIoU`` (IoUMetric) and ``accuracy`` (Accuracy).
        model (dict): The config of the model: ``segm`` needs one that predicts masks.
        config (str): The config's path, for the message.

    Raises:
        InputError: The config has no metric for a name; it tells which it has.
    """
    metrics = _metrics(evaluator)
    possible = [name for name, (kind, _, _) in _RESULTS.items()
                if any(_computes(metric, kind) for metric in metrics) and (name != 'segm' or _has_masks(model))]
    impossible = [name for name in names if name not in possible]
    if impossible:
        kinds = ', '.join(str(metric['type']) for metric in metrics) or 'nothing'
        raise InputError(f'--eval {" ".join(impossible)}: {config} evaluates with {kinds}'
                         + (' and predicts no masks' if 'segm' in impossible and 'bbox' in possible else '')
                         + f', which can do: {", ".join(possible) or "none of " + ", ".join(RESULTS)}')
    chosen = []
    for metric in metrics:
        asked = [(argument, value) for name in dict.fromkeys(names) for kind, argument, value in [_RESULTS[name]]
                 if _computes(metric, kind)]
        if asked:
            metric = ConfigDict(metric)
            if asked[0][0]:
                metric[asked[0][0]] = [value for _, value in asked]
            chosen.append(metric)
    return chosen


@METRICS.register_module()
class DumpLabelMaps(DumpResults):
    """Pickles what a segmentor predicts, without the scores of every class, which would take 200 MB an image.

    The file holds a list of ``dict(img_path, pred_sem_seg)``, the latter (H, W) of the image in class numbers, int16.
    """

    def process(self, data_batch: dict, predictions: Sequence[dict]) -> None:
        super().process(data_batch, [
            dict(img_path=sample['img_path'], pred_sem_seg=sample['pred_sem_seg']['data'][0].to(torch.int16))
            for sample in predictions])


def dump_predictions(cfg: Config, file: str) -> None:
    """Has the test of ``cfg`` write its predictions into ``file``.

    Raises:
        InputError: The name does not end as a pickle's.
    """
    if Path(file).suffix not in ('.pkl', '.pickle'):
        raise InputError(f'--out {file}: predictions are pickled; give a name that ends in .pkl')
    kind = 'DumpLabelMaps' if cfg.get('default_scope') == 'mmseg' else 'mmdet.DumpDetResults'
    cfg.test_evaluator = [*_metrics(cfg.get('test_evaluator')), dict(type=kind, out_file_path=file)]
