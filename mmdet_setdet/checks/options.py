"""``--cfg-options``: a key that nothing reads is an error, not a silent addition.

A key such as ``model.backbone.depth`` is followed from the left:

1. The first part must be a key of the config, an argument of mmengine's ``Runner``, or one of the few further keys that
   mmengine and mmdet read from the top level of a config (``TOP_LEVEL_KEYS``).
2. A part that the config has is followed. An index into a list must be within the list.
3. A part that the config does not have is looked up in the reader of its dict: for a dict with ``type`` the signature
   of that class (and of its bases, as long as they pass on ``**kwargs``), for a data loader torch's ``DataLoader``, for
   ``randomness`` and ``env_cfg`` mmengine's documentation. If the reader lacks it, the key is refused; if it has it,
   everything after it is free.
4. In any other dict (``test_cfg``, ``metainfo``, ``data_prefix``, keyword arguments of a layer) the last part may be
   new, because such dicts are open. A part before the last must exist, except in ``custom_keys``.

A value that is None in the config becomes a dict when an option names something below it. A number is not replaced by
text, nor a dict by a single value, which would show hours later or never.
"""

import copy
import difflib
import importlib
import inspect
from collections.abc import Callable, Sequence

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..errors import InputError, short
from ..registry import SCOPE

TOP_LEVEL_KEYS = (
    'runner_type',
    'sync_bn',
    'find_unused_parameters',
    'matmul_precision',
    'model_wrapper_cfg',
    'tta_model',
    'tta_pipeline',
    'compile',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
    'file_client_args',
    'custom_imports',
)
ENV_CFG_KEYS = ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit')
LOADER_KEYS = ('num_batch_per_epoch', 'disable_subprocess_warning')
# Keys of a typed dict that its builder reads, not its class.
BUILDER_KEYS = (
    'type',
    '_scope_',
    '_delete_',
    'priority',
    'constructor',
    'paramwise_cfg',
    'convert_to_iter_based',
    'init_cfg',
    'data_preprocessor',
)


def merge_options(cfg: Config, options: dict | None) -> None:
    """Merge options such as ``{'model.backbone.depth': 18}`` into a config in place.

    Raises:
        InputError: Nothing reads a key (see the rule of the module); the message names the nearest one that exists.
    """
    if not options:
        return
    retyped = _with_new_types(cfg, options)
    registries = _registries(cfg.get('default_scope') or 'mmdet')
    for key, value in options.items():
        _check(key, cfg, retyped, registries)
        _check_kind(key, cfg, value)
    for key in options:
        _open_none(cfg, key)
    cfg.merge_from_dict(options)


def _with_new_types(cfg: Config, options: dict) -> Config:
    """Copy the config with those options merged that set a ``type``: they decide which keys beside them are read."""
    types = {}
    for key, value in options.items():
        parent = cfg
        for part in key.split('.')[:-1]:
            parent = _child(parent, part)
        if key.endswith('.type') and parent is not None:
            types[key] = value
    retyped = copy.deepcopy(cfg)
    retyped.merge_from_dict(types)
    return retyped


def _registries(scope: str) -> list[Registry]:
    # The registries of this package leave all names to mmdet's but `mmdet_setdet.X`.
    package = 'mmdet' if scope == SCOPE else scope
    module = importlib.import_module(f'{package}.registry')
    return [value for value in vars(module).values() if isinstance(value, Registry)]


def _open_none(cfg: Config, key: str) -> None:
    """Replace None by an empty dict wherever the key continues below it."""
    node = cfg
    for part in key.split('.')[:-1]:
        if _is_dict(node) and part in node and node[part] is None:
            node[part] = {}
        node = _child(node, part)


def _is_dict(node) -> bool:
    return isinstance(node, (Config, dict))


def _is_list(node) -> bool:
    return isinstance(node, (list, tuple))


def _child(node, part: str):
    """Return the value of a key or index; None if there is none."""
    if _is_list(node):
        return node[int(part)] if _is_index(part, node) else None
    return node.get(part) if _is_dict(node) else None


def _is_index(part: str, values: Sequence) -> bool:
    return part.isdigit() and int(part) < len(values)


def _check(key: str, cfg: Config, retyped: Config, registries: Sequence[Registry]) -> None:
    """Follow a key through a config.

    Raises:
        InputError: Nothing reads the key.
    """
    parts = key.split('.')
    node = cfg
    typed = retyped
    for i, part in enumerate(parts):
        path = parts[:i]
        place = '.'.join(path)
        if node is None:
            return
        if not part:
            raise InputError(
                f'--cfg-options {key}: has an empty part; give names with dots between'
            )
        if _is_list(node):
            if not _is_index(part, node):
                raise InputError(
                    f'--cfg-options {key}: {place} is a list of {len(node)}; {part} is not an index into it'
                )
        elif not _is_dict(node):
            raise InputError(f'--cfg-options {key}: {place} is {node!r} and has nothing below it')
        elif part not in node:
            _check_new(key, i, node, typed, registries)
            return
        node = _child(node, part)
        typed = _child(typed, part)


# Text that stands for a number.
NUMBER_WORDS = ('auto', 'dynamic')


def _check_kind(key: str, cfg: Config, value) -> None:
    """Check that a value is of a kind that can stand where the config has another one.

    Raises:
        InputError: Text in place of a number, or a single value in place of a dict.
    """
    existing = cfg
    for part in key.split('.'):
        existing = _child(existing, part)
    is_single = isinstance(value, (str, int, float))
    was_number = isinstance(existing, (int, float)) and not isinstance(existing, bool)
    kind = None
    is_no_number = isinstance(value, str) and value not in NUMBER_WORDS
    if was_number and (is_no_number or value != value):  # NaN differs from itself
        kind = 'a number'
    elif _is_dict(existing) and is_single:
        kind = 'a dict'
    if kind:
        raise InputError(
            f'--cfg-options {key}: {value!r} cannot stand here, where the config has {kind}: {short(existing)}'
        )


def _check_new(key: str, i: int, node, typed, registries: Sequence[Registry]) -> None:
    """Check a part ``i`` of a key that its dict does not have.

    Raises:
        InputError: The reader of the dict does not read it.
    """
    parts = key.split('.')
    path = parts[:i]
    part = parts[i]
    readable = _readable_keys(path, node, typed, registries)
    if readable is None:
        is_last = i == len(parts) - 1
        if is_last or path[-1] == 'custom_keys':
            return
        readable = []
    if part in readable:
        return
    existing = [str(name) for name in node]
    owner = '.'.join(path) or 'the config'
    kind = typed.get('type') if path and isinstance(typed, dict) else None
    if kind:
        owner += f' ({kind if isinstance(kind, str) else kind.__name__})'
    hint = ''
    names = [name for name in existing + readable if name not in ('self', 'type')]
    nearest = difflib.get_close_matches(part, names, n=1, cutoff=0.5)
    if nearest:
        suggestion = '.'.join([*path, nearest[0], *parts[i + 1 :]])
        hint = f'; did you mean {suggestion}?'
    raise InputError(f'--cfg-options {key}: {owner} takes no "{part}"{hint}')


def _readable_keys(
    path: list[str], node, typed, registries: Sequence[Registry]
) -> list[str] | None:
    """Return the keys that may be added to the dict at ``path``; None if any."""
    if not path:
        return [*_parameters(Runner.__init__), *TOP_LEVEL_KEYS]
    if path == ['randomness']:
        return _parameters(Runner.set_randomness)
    if path == ['env_cfg']:
        return list(ENV_CFG_KEYS)
    if path[-1].endswith('dataloader'):
        return [*_parameters(DataLoader.__init__), *LOADER_KEYS]
    kind = (typed if _is_dict(typed) else node).get('type')
    candidates = (
        [registry.get(kind) for registry in registries] if isinstance(kind, str) else [kind]
    )
    classes = [candidate for candidate in candidates if callable(candidate)]
    if not classes:
        return None
    names = list(BUILDER_KEYS)
    for cls in classes:
        arguments = _arguments(cls)
        if arguments is None:
            return None
        names += arguments
    return names


def _parameters(function: Callable) -> list[str]:
    return list(inspect.signature(function).parameters)


def _arguments(cls: Callable) -> list[str] | None:
    """Return the argument names of a class, with its bases where it passes on ``**kwargs``, or of a function.

    None means that it accepts any.
    """
    functions = [cls]
    if inspect.isclass(cls):
        functions = [
            base.__dict__['__init__'] for base in cls.__mro__[:-1] if '__init__' in base.__dict__
        ]
    names = []
    for function in functions:
        if not inspect.isroutine(function):
            return None
        parameters = inspect.signature(function).parameters.values()
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names
    return None
