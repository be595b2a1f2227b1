"""``--cfg-options``: a key that nothing reads is an error, not a silent addition.

The rule, walking a key such as ``model.backbone.depth`` from the left:

1. The first part must be a key of the config, an argument of mmengine's ``Runner``, or one of the few further keys that
   mmengine and mmdet read from the top of a config (``TOP``).
2. A part that the config has is followed. An index into a list must be within the list.
3. A part that the config does not have is looked up in what reads its dict: a dict with ``type`` in the signature of
   that class (and of its bases, as long as they pass on ``**kwargs``), a data loader in torch's ``DataLoader``, and
   ``randomness`` and ``env_cfg`` in what mmengine documents. If it is not there, the key is refused; if it is, all that
   follows it is free.
4. In any other dict (``test_cfg``, ``metainfo``, ``data_prefix``, keyword arguments of a layer) the last part may be
   new, because such dicts are open; a part with more parts behind it must exist, except in ``custom_keys``.

A value that is None in the config becomes a dict when an option names something below it.
"""
import copy
import difflib
import importlib
import inspect
from collections.abc import Iterable, Sequence

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..errors import InputError

TOP = ('runner_type', 'sync_bn', 'find_unused_parameters', 'tta_model', 'tta_pipeline', 'compile',
       'activation_checkpointing', 'efficient_conv_bn_eval', 'file_client_args', 'custom_imports')
# Read by the builder of a typed dict, not by its class.
BUILDERS = ('type', '_scope_', '_delete_', 'priority', 'constructor', 'paramwise_cfg', 'convert_to_iter_based',
            'init_cfg', 'data_preprocessor')


def merge_options(cfg: Config, options: dict | None) -> None:
    """Merges ``options`` (``{'model.backbone.depth': 18}``) into ``cfg`` in place.

    Raises:
        InputError: A key that nothing reads, see the module's rule; it names the nearest one that exists.
    """
    if not options:
        return
    types = {key: value for key, value in options.items() if key.endswith('.type') and _parent(cfg, key) is not None}
    # Options that set a `type` count when the keys beside it are judged.
    typed = copy.deepcopy(cfg)
    typed.merge_from_dict(types)
    scope = importlib.import_module(f"{cfg.get('default_scope') or 'mmdet'}.registry")
    registries = [value for value in vars(scope).values() if isinstance(value, Registry)]
    for key in options:
        _check(key, cfg, typed, registries)
    for key in options:
        _open_none(cfg, key.split('.'))
    cfg.merge_from_dict(options)


def _parent(cfg: Config, key: str):
    node = cfg
    for part in key.split('.')[:-1]:
        node = _child(node, part)
    return node


def _open_none(node, parts: list[str]) -> None:
    for part in parts[:-1]:
        if isinstance(node, (Config, dict)) and part in node and node[part] is None:
            node[part] = {}
        node = _child(node, part)


def _child(node, part: str):
    if isinstance(node, (list, tuple)):
        return node[int(part)] if part.isdigit() and int(part) < len(node) else None
    return node.get(part) if isinstance(node, (Config, dict)) else None


def _check(key: str, cfg: Config, merged: Config, registries: Sequence[Registry]) -> None:
    parts, node, typed = key.split('.'), cfg, merged
    for i, part in enumerate(parts):
        path, last = parts[:i], i == len(parts) - 1
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise InputError(f'--cfg-options {key}: {".".join(path)} is a list of {len(node)}; '
                                 f'{part} is not an index into it')
        elif not isinstance(node, (Config, dict)):
            if node is None:
                return
            raise InputError(f'--cfg-options {key}: {".".join(path)} is {node!r} and has nothing below it')
        elif part not in node:
            accepted = _accepted(path, node, typed, registries)
            if accepted is None:
                if last or path[-1] == 'custom_keys':
                    return
                accepted = ()
            elif part in accepted:
                return
            _refuse(key, path, part, parts[i + 1:], [str(name) for name in node] + list(accepted), typed)
        node = _child(node, part)
        typed = _child(typed, part)


def _accepted(path: list[str], node, typed, registries: Sequence[Registry]) -> Iterable[str] | None:
    """The keys that may be added to the dict at ``path``; None if any."""
    if not path:
        return (*inspect.signature(Runner.__init__).parameters, *TOP)
    if path == ['randomness']:
        return tuple(inspect.signature(Runner.set_randomness).parameters)
    if path == ['env_cfg']:
        return 'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'
    if path[-1].endswith('dataloader'):
        return (*inspect.signature(DataLoader.__init__).parameters, 'num_batch_per_epoch', 'disable_subprocess_warning')
    kind = (typed if isinstance(typed, (Config, dict)) else node).get('type')
    found = [registry.get(kind) for registry in registries] if isinstance(kind, str) else [kind]
    classes = [cls for cls in found if callable(cls)]
    names = list(BUILDERS)
    for cls in classes:
        arguments = _arguments(cls)
        if arguments is None:
            return None
        names += arguments
    return names if classes else None


def _arguments(cls) -> list[str] | None:
    """Names of the arguments of a class or function; None if it takes any."""
    names = []
    chain = [base.__dict__['__init__'] for base in cls.__mro__[:-1] if '__init__' in base.__dict__] \
        if inspect.isclass(cls) else [cls]
    for function in chain:
        if not inspect.isroutine(function):
            return None
        parameters = inspect.signature(function).parameters.values()
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names
    return None


def _refuse(key: str, path: list[str], part: str, rest: list[str], names: list[str], typed) -> None:
    nearest = difflib.get_close_matches(part, [name for name in names if name not in ('self', 'type')], 1, 0.5)
    owner = '.'.join(path) or 'the config'
    kind = typed.get('type') if path and isinstance(typed, dict) else None
    kind = f' ({kind if isinstance(kind, str) else kind.__name__})' if kind else ''
    hint = f'; did you mean {".".join([*path, nearest[0], *rest])}?' if nearest else ''
    raise InputError(f'--cfg-options {key}: {owner}{kind} takes no "{part}"{hint}')
