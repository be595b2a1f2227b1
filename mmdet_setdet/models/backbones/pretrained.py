"""First weights of a backbone, from the checkpoint of a classifier or of a whole model."""

from mmengine.logging import print_log
from mmengine.model import PretrainedInit, update_init_info
from mmengine.runner import CheckpointLoader, load_state_dict
from torch import Tensor, nn

from ...errors import InputError

# Keys under which weights are kept in checkpoints: of mmengine, and of the authors of DETR and CrossFormer.
WRAPPERS = ('state_dict', 'model')


class PretrainedMixin:
    """Mix-in for backbones: ``init_cfg=dict(type='Pretrained', ...)`` calls :func:`load_pretrained`."""

    def init_weights(self) -> None:
        """Initialize by ``init_cfg``; pretrained weights come last, as in mmengine."""
        if self.is_init:
            super().init_weights()  # warns, and does nothing else
            return
        init_cfg = self.init_cfg
        configs = _as_list(init_cfg)
        self.init_cfg = [config for config in configs if not _is_pretrained(config)]
        super().init_weights()
        self.init_cfg = init_cfg
        for config in configs:
            if _is_pretrained(config):
                options = dict(config)
                del options['type']
                load_pretrained(self, **options)

    @property
    def is_pretrained(self) -> bool:
        """Whether ``init_cfg`` names a checkpoint."""
        return any(_is_pretrained(config) for config in _as_list(self.init_cfg))


def _as_list(init_cfg: dict | list | None) -> list[dict]:
    if isinstance(init_cfg, dict):
        return [init_cfg]
    return list(init_cfg or [])


def _is_pretrained(config: dict) -> bool:
    return config['type'] in ('Pretrained', PretrainedInit)


def load_pretrained(
    backbone: nn.Module, checkpoint: str, prefix: str | None = None, map_location: str = 'cpu'
) -> None:
    """Load weights into a backbone, as mmengine's initializer 'Pretrained' does: what does not fit is logged.

    In addition, weights may be kept under 'model' in the file, as by the authors of CrossFormer and DETR; and a file of
    which nothing fits is an error, for otherwise training would begin with random weights.

    Args:
        backbone (nn.Module): The backbone.
        checkpoint (str): File or URL.
        prefix (str, optional): Load the weights whose names begin so, without it: 'backbone.' for those in a model of
            mmdet, 'backbone.0.body.' in one of DETR's authors.
        map_location (str): Device to which the file is read.

    Raises:
        InputError: None of the weights fits the backbone.
    """
    print_log(f'load {prefix or "weights"} of a backbone from: {checkpoint}', logger='current')
    content = CheckpointLoader.load_checkpoint(checkpoint, map_location, logger='current')
    all_weights = _unwrap(content)
    weights = all_weights
    if prefix is not None:
        weights = _strip_prefix(all_weights, prefix.removesuffix('.') + '.')
    own = backbone.state_dict()
    if not any(_fits(name, value, own) for name, value in weights.items()):
        raise InputError(_explain(checkpoint, prefix, list(all_weights), list(own)))
    load_state_dict(backbone, weights, strict=False, logger='current')
    if hasattr(
        backbone, '_params_init_info'
    ):  # while the model of which it is a part is initialized
        update_init_info(backbone, init_info=f'Pretrained: load from {checkpoint}')


def _unwrap(content: dict) -> dict:
    """Return the weights in a checkpoint, named as in a model of one process."""
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    return {name.removeprefix('module.'): value for name, value in content.items()}


def _strip_prefix(weights: dict, prefix: str) -> dict:
    """Return the weights whose names begin with a prefix, without it."""
    stripped = {}
    for name, value in weights.items():
        if name.startswith(prefix):
            stripped[name.removeprefix(prefix)] = value
    return stripped


def _fits(name: str, value: object, own: dict[str, Tensor]) -> bool:
    return name in own and isinstance(value, Tensor) and value.shape == own[name].shape


def _explain(checkpoint: str, prefix: str | None, names: list[str], own_names: list[str]) -> str:
    """Return what to do about a checkpoint none of whose weights fits."""
    with_prefix = '' if prefix is None else f' with prefix={prefix!r}'
    message = f'{checkpoint}: none of its weights fits the backbone{with_prefix}'
    deepest = max(own_names, key=len)  # no other weight's name ends so
    for name in names:
        if name.endswith('.' + deepest):
            stem = name.removesuffix(deepest)
            return f'{message}. They are those of a whole model: add prefix={stem!r} to init_cfg'
    first = ', '.join(names[:3])
    own_first = ', '.join(own_names[:3])
    return f'{message}. Its weights begin with {first}, those of the backbone with {own_first}'
