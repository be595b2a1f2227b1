"""Convert checkpoints of other code bases to checkpoints of this one."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from mmdet.models.backbones.swin import swin_converter
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..checks.checkpoints import Differences, without_counters
from ..config_names import config_folder
from ..errors import InputError
from ..registry import MODELS
from .coco_ids import CLASSIFIER, USED_IDS, all_ids_meta, keep_used_ids, num_ids
from .families import FAMILIES, candidates, guess
from .key_maps import NO_WEIGHTS, our_name
from .safe_load import strict_loading
from .safetensors import read_safetensors

HF_FILES = ('model.safetensors', 'pytorch_model.bin')
DINO_LABELS = 'dn_query_generator.label_embedding.weight'
SWIN = 'backbone.0.patch_embed.proj.weight'
# Keys below which files hold their weights.
WRAPPERS = ('model', 'state_dict')


def read_weights(source: str) -> tuple[dict[str, Tensor], bool | None]:
    """Read the weights of a file, a URL or a folder as written by transformers, without running code from it.

    Returns:
        tuple[dict[str, Tensor], bool | None]: Weights by name; whether the backbone was dilated (DC5), if the file
        holds the authors' command line.

    Raises:
        InputError: It cannot be read, is damaged, carries code, or holds no weights.
    """
    source = _find_file(source)
    if source.endswith('.safetensors'):
        content = read_safetensors(source)
    else:
        with strict_loading():
            content = CheckpointLoader.load_checkpoint(source, 'cpu', logger='silent')
    entries = content
    for wrapper in WRAPPERS:
        if isinstance(entries, dict) and isinstance(entries.get(wrapper), dict):
            entries = entries[wrapper]
    if not isinstance(entries, dict):
        raise InputError(f'{source}: holds no weights but {type(entries).__name__}')
    weights = {}
    for name, value in entries.items():
        if isinstance(value, Tensor):
            weights[name.removeprefix('module.')] = value
    if not weights:
        keys = ', '.join(map(str, list(entries)[:5]))
        raise InputError(f'{source}: holds no weights but {keys or "nothing"}')
    return weights, getattr(content.get('args'), 'dilation', None)


def _find_file(source: str) -> str:
    """Return the file with the weights: ``source`` itself, or a file in that folder."""
    path = Path(source)
    if path.is_dir():
        for name in HF_FILES:
            if (path / name).is_file():
                return str(path / name)
        raise InputError(f'{source}: a folder without {" and without ".join(HF_FILES)}')
    if '://' not in source and not path.is_file():
        raise InputError(f'{source}: no such file or folder')
    return source


def rename(weights: dict[str, Tensor], family: str, source: str) -> dict[str, Tensor]:
    """Rename weights of a code base to our names, as float32, and join projections of queries, keys and values.

    Raises:
        InputError: Two weights that are one and the same here differ.
    """
    renamed = {}
    original_name = {}
    if SWIN in weights:
        weights = _with_mmdets_swin(weights)
    for name, value in without_counters(weights).items():
        if NO_WEIGHTS.search(name):
            continue
        if value.is_floating_point():
            value = value.float()
        new_name = our_name(family, name)
        # Modules of the authors that share parameters are in a checkpoint twice.
        if new_name in renamed and not torch.equal(renamed[new_name], value):
            raise InputError(
                f'{source}: {original_name[new_name]} and {name} differ, but are one and the same weight, {new_name}, '
                f'in the models of {family} that this package has'
            )
        renamed[new_name] = value
        original_name[new_name] = name
    return _join_projections(renamed)


def _with_mmdets_swin(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reorder the weights of the authors' Swin Transformer, ``backbone.0.*``, to mmdet's ``backbone.*``."""
    prefix = 'backbone.0.'
    backbone = {}
    others = {}
    for name, value in weights.items():
        if name.startswith(prefix):
            backbone[name.removeprefix(prefix)] = value
        else:
            others[name] = value
    return {**others, **swin_converter(backbone)}


def _join_projections(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace ``attn.{q,k,v}_proj.weight`` and ``.bias`` by ``attn.in_proj_weight`` and ``_bias``."""
    joined = dict(weights)
    for name in weights:
        if '.attn.q_proj.' not in name:
            continue
        parts = [name.replace('.q_proj.', f'.{part}_proj.') for part in 'qkv']
        if all(part in joined for part in parts):
            projections = [joined.pop(part) for part in parts]
            joined[name.replace('.q_proj.', '.in_proj_')] = torch.cat(projections)
    return joined


def convert(
    source: str,
    family: str | None = None,
    keep_91: bool = False,
    config: str | None = None,
) -> tuple[dict, str, list[str]]:
    """Convert a checkpoint.

    Args:
        source (str): File, URL, or folder as written by transformers.
        family (str, optional): A key of :data:`FAMILIES`; guessed by default.
        keep_91 (bool): Whether to keep COCO's 91 ids as classes instead of mmdet's 80; with stuff the authors' 250
            instead of mmdet's 133.
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
        first = ', '.join(list(weights)[:3])
        raise InputError(
            f'{source}: {_describe(looks_like)}; with --from one of {", ".join(FAMILIES)} it is tried as such. Its '
            f'first weights: {first}'
        )
    names = [config] if config else [f'{name}.py' for name in candidates(family, weights)]
    renamed = rename(weights, family, source)
    with DefaultScope.overwrite_default_scope('mmdet'):
        candidate_fits = [_fit(renamed, family, name, keep_91) for name in names]
    best = min(candidate_fits, key=lambda fit: fit.differences.count)
    if best.differences.count:
        other = '' if looks_like == family else f' But {_describe(looks_like)}.'
        own = (
            ''
            if config
            else ' If it was trained with other sizes, give a config that has them: --config FILE.'
        )
        raise InputError(
            f'{source}: does not fit {family} ({FAMILIES[family].code}); against {best.name}, in our names: '
            f'{best.differences}.{other}{own}'
        )
    fits = [fit for fit in candidate_fits if not fit.differences.count]
    # Dilation changes outputs but no weight.
    as_trained = [fit for fit in fits if fit.is_dilated == dilated]
    fits = as_trained or fits
    meta = dict(dataset_meta=_dataset_meta(fits[0]), family=family, source=Path(source).name)
    checkpoint = dict(meta=meta, state_dict=fits[0].weights)
    return checkpoint, family, [fit.name for fit in fits]


class _Fit(NamedTuple):
    """Weights and a config with the same classes, and how the weights differ from those of the config's model."""

    name: str
    cfg: Config
    weights: dict[str, Tensor]
    differences: Differences

    @property
    def is_dilated(self) -> bool:
        return 'dilations' in self.cfg.model.backbone


def _fit(weights: dict[str, Tensor], family: str, name: str, keep_91: bool) -> _Fit:
    path = Path(name) if Path(name).is_file() else config_folder() / name
    cfg = Config.fromfile(path)
    head = cfg.model.get('bbox_head')
    classifiers = [value for key, value in weights.items() if CLASSIFIER.match(key)]
    if DINO_LABELS in weights and classifiers:
        # The authors' embedding has rows that no class uses.
        used_rows = weights[DINO_LABELS][: len(classifiers[0])]
        weights = {**weights, DINO_LABELS: used_rows}
    if classifiers:
        num_extra_rows = 0 if head.loss_cls.use_sigmoid else 1
        number = num_ids(len(classifiers[0]), num_extra_rows)
        if number and keep_91:
            head.num_classes = number
        elif number:
            weights = keep_used_ids(weights, number)
    if family == 'ota':
        weights = _from_cvpods(weights, cfg.model.data_preprocessor)
    expected = _expected_weights(path, head and head.num_classes)
    return _Fit(name, cfg, weights, Differences.between(weights, expected))


def _from_cvpods(weights: dict[str, Tensor], preprocessor: dict) -> dict[str, Tensor]:
    """Adapt the first convolution to images as a config normalises them; cvpods reads BGR without dividing by ``std``.

    The scales of levels have a dimension in cvpods and none in mmcv.
    """
    adapted = dict(weights)
    for name, value in weights.items():
        if name.endswith('.scale'):
            adapted[name] = value.squeeze()
        elif name == 'backbone.conv1.weight':
            std = torch.tensor(preprocessor.std)[:, None, None]
            adapted[name] = std * (value.flip(1) if preprocessor.bgr_to_rgb else value)
    return adapted


@contextmanager
def without_memory() -> Iterator[None]:
    """Within this context modules are built on the device ``meta``: with shapes, without memory."""
    # mmdet's Swin Transformer reads the numbers of a linspace while it is built.
    linspace = partial(torch.linspace, device='cpu')
    with torch.device('meta'), mock.patch.object(torch, 'linspace', linspace):
        yield


@lru_cache
def _expected_weights(config: Path, num_classes: int | None) -> dict[str, Tensor]:
    """Return the names and shapes of the weights of a config's model, without the memory for them."""
    cfg = Config.fromfile(config)
    if num_classes is not None:
        cfg.model.bbox_head.num_classes = num_classes
    with without_memory(), DefaultScope.overwrite_default_scope(cfg.default_scope):
        return without_counters(MODELS.build(cfg.model).state_dict())


def _dataset_meta(fit: _Fit) -> dict:
    """Return the names and colours of the classes."""
    model = fit.cfg.model
    dataset = fit.cfg.test_dataloader.dataset
    num_classes = model.bbox_head.num_classes if 'bbox_head' in model else None
    if num_classes in USED_IDS:
        return all_ids_meta(num_classes)
    with DATASETS.switch_scope_and_registry(fit.cfg.default_scope) as registry:
        meta = {**registry.get(dataset.type).METAINFO, **dataset.get('metainfo', {})}
    if num_classes is not None and len(meta['classes']) != num_classes:
        raise InputError(
            f'{fit.name}: its data set names {len(meta["classes"])} classes, but its model has {num_classes}; give it '
            'metainfo=dict(classes=(...))'
        )
    return dict(meta)


def _describe(looks_like: str | None) -> str:
    if looks_like in FAMILIES:
        return f'it looks like {looks_like} ({FAMILIES[looks_like].code})'
    return f'it looks like {looks_like or "nothing that is known here"}'
