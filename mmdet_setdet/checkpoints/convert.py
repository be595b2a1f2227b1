"""Checkpoints of other code bases -> checkpoints of this one."""
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..checks.checkpoints import Differences, without_counters
from ..config_names import config_folder
from ..errors import InputError
from ..registry import MODELS
from .coco_ids import CLASSIFIER, NUM_IDS, all_ids_meta, keep_used_ids
from .families import FAMILIES, candidates, guess
from .key_maps import NO_WEIGHTS, our_name
from .safetensors import read_safetensors

HF_FILES = ('model.safetensors', 'pytorch_model.bin')
# What may stand around the weights in a file.
WRAPPERS = ('model', 'state_dict')


def read_weights(source: str) -> tuple[dict[str, Tensor], bool | None]:
    """Reads the weights of a file, a URL or a folder as transformers writes it, without running anything.

    Returns:
        tuple[dict[str, Tensor], bool | None]: Weights by their names; whether the backbone was dilated (DC5), if the
        authors' command line is in the file.

    Raises:
        InputError: It cannot be read, is damaged, carries code, or holds no weights.
    """
    path = Path(source)
    if path.is_dir():
        path = next((path / name for name in HF_FILES if (path / name).is_file()), None)
        if path is None:
            raise InputError(f'{source}: a folder without {" and without ".join(HF_FILES)}')
        source = str(path)
    elif '://' not in source and not path.is_file():
        raise InputError(f'{source}: no such file or folder')
    if path.suffix == '.safetensors':
        content = read_safetensors(path)
    else:
        content = CheckpointLoader.load_checkpoint(source, 'cpu', logger='silent')
    entries = content
    for wrapper in WRAPPERS:
        if isinstance(entries, dict) and isinstance(entries.get(wrapper), dict):
            entries = entries[wrapper]
    if not isinstance(entries, dict) or not any(isinstance(value, Tensor) for value in entries.values()):
        holds = ', '.join(map(str, list(entries)[:5])) if isinstance(entries, dict) else type(entries).__name__
        raise InputError(f'{source}: holds no weights but {holds or "nothing"}')
    weights = {name.removeprefix('module.'): value for name, value in entries.items() if isinstance(value, Tensor)}
    return weights, getattr(content.get('args'), 'dilation', None)


def rename(weights: dict[str, Tensor], family: str, source: str) -> dict[str, Tensor]:
    """Gives weights our names; float32, and separate projections of queries, keys and values joined.

    Raises:
        InputError: Two weights, which are one here, differ.
    """
    renamed, origin = {}, {}
    for name, value in without_counters(weights).items():
        if NO_WEIGHTS.search(name):
            continue
        value = value.float() if value.is_floating_point() else value
        ours = our_name(family, name)
        # The authors' modules share parameters, and then a checkpoint has them twice.
        if ours in renamed and not torch.equal(renamed[ours], value):
            raise InputError(f'{source}: {origin[ours]} and {name} differ, but are one and the same weight, {ours}, in '
                             f'the models of {family} that this package has')
        renamed[ours], origin[ours] = value, name
    for name in [name for name in renamed if '.attn.q_proj.' in name]:
        parts = [name.replace('.q_proj.', f'.{part}_proj.') for part in 'qkv']
        if all(part in renamed for part in parts):
            renamed[name.replace('.q_proj.', '.in_proj_')] = torch.cat([renamed.pop(part) for part in parts])
    return renamed


def convert(source: str, family: str | None = None, keep_91: bool = False,
            config: str | None = None) -> tuple[dict, str, list[str]]:
    """Converts a checkpoint.

    Args:
        source (str): File, URL, or folder of transformers.
        family (str, optional): A key of :data:`FAMILIES`; guessed by default.
        keep_91 (bool): Keep COCO's 91 ids as classes instead of mmdet's 80.
        config (str, optional): Config of the model; by default the published ones of the family are tried.

    Returns:
        tuple[dict, str, list[str]]: The checkpoint, ``state_dict`` and ``meta`` with ``dataset_meta``; the family;
        the configs that it fits.

    Raises:
        InputError: The source cannot be read or is of another family, a key is missing or left over, or a class has
            no name.
    """
    weights, dilated = read_weights(source)
    looks_like = guess(weights)
    family = family or looks_like
    if family not in FAMILIES:
        raise InputError(f'{source}: {_describe(looks_like)}; with --from one of {", ".join(FAMILIES)} it is tried as '
                         f'such. Its first weights: {", ".join(list(weights)[:3])}')
    names = [config] if config else [f'{name}.py' for name in candidates(family, weights)]
    renamed = rename(weights, family, source)
    with DefaultScope.overwrite_default_scope('mmdet'):
        tried = [_adapt(renamed, family, name, keep_91) for name in names]
    best = min(tried, key=lambda adapted: adapted.found.count)
    if best.found.count:
        other = '' if looks_like == family else f' But {_describe(looks_like)}.'
        own = '' if config else ' If it was trained with other sizes, give a config that has them: --config FILE.'
        raise InputError(f'{source}: does not fit {family} ({FAMILIES[family].code}); against {best.name}, in our '
                         f'names: {best.found}.{other}{own}')
    fitting = [adapted for adapted in tried if not adapted.found.count]
    # Dilation changes outputs but no weight.
    as_trained = [adapted for adapted in fitting if dilated == ('dilations' in adapted.cfg.model.backbone)]
    fitting = as_trained or fitting
    meta = dict(dataset_meta=_dataset_meta(fitting[0]), family=family, source=Path(source).name)
    checkpoint = dict(meta=meta, state_dict=fitting[0].weights)
    return checkpoint, family, [adapted.name for adapted in fitting]


class _Adapted(NamedTuple):
    """Weights beside a config, each with the classes of the other, and what does not fit."""
    name: str
    cfg: Config
    weights: dict[str, Tensor]
    found: Differences


def _adapt(weights: dict[str, Tensor], family: str, name: str, keep_91: bool) -> _Adapted:
    path = Path(name) if Path(name).is_file() else config_folder() / name
    cfg = Config.fromfile(path)
    head = cfg.model.get('bbox_head')
    classifier = next((value for key, value in weights.items() if CLASSIFIER.match(key)), ())
    if len(classifier) and len(classifier) == NUM_IDS + (not head.loss_cls.use_sigmoid):
        if keep_91:
            head.num_classes = NUM_IDS
        else:
            weights = keep_used_ids(weights)
    if family == 'ota':
        weights = _from_cvpods(weights, cfg.model.data_preprocessor)
    expected = _expected_weights(path, head and head.num_classes)
    return _Adapted(name, cfg, weights, Differences.between(weights, expected))


def _from_cvpods(weights: dict[str, Tensor], preprocessor: dict) -> dict[str, Tensor]:
    """The first convolution takes images as a config prepares them, instead of BGR that is not divided by anything.

    Scales of levels have a dimension in cvpods and none in mmcv.
    """
    weights = {name: value.squeeze() if name.endswith('.scale') else value for name, value in weights.items()}
    first = 'backbone.conv1.weight'
    if first not in weights:
        return weights
    weight = weights[first].flip(1) if preprocessor.bgr_to_rgb else weights[first]
    return {**weights, first: weight * torch.tensor(preprocessor.std)[:, None, None]}


@lru_cache
def _expected_weights(config: Path, num_classes: int | None) -> dict[str, Tensor]:
    """Names and shapes of what the model of a config wants, without the memory for it."""
    cfg = Config.fromfile(config)
    if num_classes is not None:
        cfg.model.bbox_head.num_classes = num_classes
    with torch.device('meta'), DefaultScope.overwrite_default_scope(cfg.default_scope):
        return without_counters(MODELS.build(cfg.model).state_dict())


def _dataset_meta(adapted: _Adapted) -> dict:
    """Names and colours of the classes."""
    model, dataset = adapted.cfg.model, adapted.cfg.test_dataloader.dataset
    num_classes = model.bbox_head.num_classes if 'bbox_head' in model else None
    if num_classes == NUM_IDS:
        return all_ids_meta()
    with DATASETS.switch_scope_and_registry(adapted.cfg.default_scope) as registry:
        meta = {**registry.get(dataset.type).METAINFO, **dataset.get('metainfo', {})}
    if num_classes is not None and len(meta['classes']) != num_classes:
        raise InputError(f'{adapted.name}: its data set names {len(meta["classes"])} classes, but its model has '
                         f'{num_classes}; give it metainfo=dict(classes=(...))')
    return dict(meta)


def _describe(looks_like: str | None) -> str:
    if looks_like in FAMILIES:
        return f'it looks like {looks_like} ({FAMILIES[looks_like].code})'
    return f'it looks like {looks_like}' if looks_like else 'it looks like nothing that is known here'
