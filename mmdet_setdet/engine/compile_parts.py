"""A hook that compiles parts of a model for training."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..errors import InputError
from ..registry import HOOKS


@HOOKS.register_module()
class CompileParts(Hook):
    """Compile modules of the model by ``torch.compile`` before training, see ``docs/compile.md``.

    mmengine's key ``compile`` takes the whole training step, which differs from batch to batch.

    Args:
        parts (Sequence[str]): Names of the modules, e.g. ``backbone`` or ``encoder``.
        **options: Of ``torch.compile``.

    Raises:
        InputError: The model has no such module. (When training starts.)
    """

    def __init__(self, parts: Sequence[str] = ('backbone',), **options) -> None:
        self.parts = parts
        self.options = options

    def before_train(self, runner: Runner) -> None:
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        modules = dict(model.named_modules())
        for name in self.parts:
            if name not in modules:
                known = [child for child, _ in model.named_children()]
                raise InputError(
                    f'CompileParts: the model has no part {name!r}; its parts are {", ".join(known)}'
                )
            modules[name].compile(**self.options)
