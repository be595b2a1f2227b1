"""What an exported file says of its model, taken from the config."""

import copy
from collections.abc import Sequence
from pathlib import Path

from mmcv.transforms import Resize
from mmdet.registry import DATASETS
from mmengine.config import Config
from torch import nn

from ..datasets.pipelines import with_pipeline
from ..datasets.transforms import PillowResize
from ..errors import InputError
from ..models.dense_heads import OTAHead
from ..registry import TRANSFORMS
from ..runtime import ModelInfo
from ..version import __version__
from .graphs import ClassGraph, DenseGraph, Graph, SetGraph


def describe(
    cfg: Config,
    graph: Graph,
    classes: Sequence[str],
    fixed: dict[str, int] | None = None,
    precision: str = 'float32',
) -> ModelInfo:
    """Return the description of a model.

    Args:
        cfg (Config): The config: its test pipeline tells how images are resized.
        graph (Graph): The model.
        classes (Sequence[str]): Names of the classes.
        fixed (dict[str, int], optional): Sizes that cannot change.
        precision (str): See :func:`export_model`.

    Raises:
        InputError: The test pipeline resizes, or ``test_cfg.nms`` suppresses, in a way that the runtime does not know.
    """
    pixels = graph.model.data_preprocessor
    channels = getattr(pixels, 'mean', None), getattr(pixels, 'std', None)
    mean, std = ([0.0] * 3, [1.0] * 3) if channels[0] is None else map(_numbers, channels)
    return ModelInfo(
        config=Path(cfg.filename).stem,
        version=__version__,
        classes=list(classes),
        mean=mean,
        std=std,
        rgb=bool(getattr(pixels, '_channel_conversion', False)),
        size_divisor=getattr(pixels, 'pad_size_divisor', 1),
        task='classification' if isinstance(graph, ClassGraph) else 'detection',
        outputs='raw' if getattr(graph, 'raw', False) else 'results',
        nms=_nms(graph) if isinstance(graph, DenseGraph) else None,
        max_overlap=_max_overlap(graph) if isinstance(graph, SetGraph) else None,
        fixed=fixed or {},
        precision=precision,
        **_resizing(cfg),
    )


def class_names(model: nn.Module, cfg: Config) -> list[str]:
    """Return the names of a model's classes: as its checkpoint says or, if it does not, the data set of the config."""
    names = getattr(model, 'dataset_meta', {}).get('classes')
    if not names:
        dataset = copy.deepcopy(cfg.test_dataloader.dataset)
        names = DATASETS.build(dict(dataset, lazy_init=True)).metainfo['classes']
    return list(names)


def fixed_sizes(size: Sequence[int], dynamic: Sequence[str]) -> dict[str, int]:
    """Return what cannot change of an input of ``size`` (height, width); a fixed batch is one image."""
    sizes = dict(batch=1, height=size[0], width=size[1])
    return {name: value for name, value in sizes.items() if name not in dynamic}


def default_size(cfg: Config, dynamic: Sequence[str]) -> tuple[int, int]:
    """Return the height and width to trace with: small if they may change, otherwise those of the test pipeline."""
    if 'height' in dynamic and 'width' in dynamic:
        return 256, 320
    resizing = _resizing(cfg)
    if resizing['resize'] == 'crop':
        return (resizing['scale'][1],) * 2
    height, width = (-(-side // 32) * 32 for side in sorted(resizing['scale']))
    return height, width


def _numbers(tensor) -> list[float]:
    return tensor.flatten().tolist()


def _nms(graph: DenseGraph) -> dict:
    head = graph.model.bbox_head
    test_cfg = head.test_cfg
    generator = head.prior_generator
    return dict(
        score_thr=test_cfg.get('score_thr', 0.0),
        nms_pre=test_cfg.get('nms_pre', -1),
        iou_threshold=test_cfg['nms']['iou_threshold'],
        max_per_img=test_cfg['max_per_img'],
        strides=[stride[0] for stride in generator.strides],
        priors_per_cell=generator.num_base_priors[0],
        one_per_cell=isinstance(head, OTAHead),
        drops_empty=isinstance(head, OTAHead),
    )


def _max_overlap(graph: SetGraph) -> float | None:
    nms = graph.model.bbox_head.test_cfg.get('nms')
    if not nms or graph.raw:
        return None
    if nms.keys() != {'type', 'iou_threshold'} or nms['type'] != 'nms':
        raise InputError(
            f"model.test_cfg.nms={dict(nms)} cannot be exported; dict(type='nms', iou_threshold=...) can"
        )
    return nms['iou_threshold']


def _resizing(cfg: Config) -> dict:
    """The fields ``resize``, ``scale`` and ``filter`` of :class:`ModelInfo`."""
    steps = _steps(cfg)
    types = [TRANSFORMS.mmdet.get(step['type']) for step in steps]
    rules = [step for step, kind in zip(steps, types) if kind and issubclass(kind, Resize)]
    crops = [step for step in steps if step['type'].endswith('CenterCrop')]
    if len(rules) != 1:
        raise InputError(
            f'{cfg.filename}: the test pipeline must have one Resize, and has {len(rules)}; the exported file could '
            'not say how to prepare an image'
        )
    step = rules[0]
    by_detr = issubclass(TRANSFORMS.mmdet.get(step['type']), PillowResize)
    by_pillow = by_detr or step.get('backend') == 'pillow'
    kind = step.get('interpolation', 'bilinear') if by_pillow else 'cv2'
    if crops:
        scale = [min(step['scale']), crops[0]['crop_size']]
        return dict(resize='crop', scale=scale, filter=kind)
    if not by_detr and not step.get('keep_ratio'):
        raise InputError(
            f'{cfg.filename}: Resize in the test pipeline needs keep_ratio=True; other ways are not exported'
        )
    return dict(
        resize='detr' if by_detr else 'fit',
        scale=list(step['scale']),
        filter=kind,
    )


def _steps(cfg: Config) -> list[dict]:
    """The test pipeline, also of a data set inside another one."""
    return with_pipeline(cfg.test_dataloader.dataset).get('pipeline', [])
