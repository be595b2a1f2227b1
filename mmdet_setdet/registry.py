"""The registries of this package: children of mmengine's, in the scope ``mmdet_setdet``.

One rule holds in every scope, ``mmdet_setdet`` included:

- ``type='mmdet_setdet.X'`` is the ``X`` of this package.
- A bare ``type='X'`` is mmdet's if mmdet has an ``X`` (``ResNet``, ``DETR``, ``HungarianAssigner``), else the ``X`` of
  this package (``CrossFormer``, ``OTAHead``). The latter are entered into mmengine's root registries, which mmdet's and
  mmseg's search last, by :func:`mmdet_setdet.mmengine_patches.bare_names`.
"""

import mmdet.registry
import mmengine.registry
from mmengine.registry import Registry

SCOPE = 'mmdet_setdet'


class ScopedRegistry(Registry):
    """A registry of this package.

    It holds the classes to which ``mmdet_setdet.X`` refers. Everything else is left to mmdet's registry of the same
    name, so that a config means the same whether its scope is ``mmdet`` or ``mmdet_setdet``.

    Args:
        name (str): Name of mmengine's and mmdet's registry, e.g. ``'MODELS'``.
    """

    enters_bare_names = False

    def __init__(self, name: str) -> None:
        self.mmdet: Registry = getattr(mmdet.registry, name)
        root: Registry = getattr(mmengine.registry, name)
        super().__init__(root.name, parent=root, scope=SCOPE, locations=[SCOPE])

    def enter_bare_names(self) -> None:
        """Enter what mmdet lacks into mmengine's root registry, now and whenever a class is registered from now on.

        Nothing that is registered there already is replaced.
        """
        self.enters_bare_names = True
        self.mmdet.import_from_location()
        root = self.parent
        for name, module in self.module_dict.items():
            if name not in self.mmdet.module_dict and name not in root.module_dict:
                root.register_module(name=name, module=module)

    def _register_module(self, *args, **kwargs) -> None:
        super()._register_module(*args, **kwargs)
        if self.enters_bare_names:
            self.enter_bare_names()

    def build(self, cfg: dict, *args, **kwargs):
        return self.mmdet.build(cfg, *args, **kwargs)

    def _search_child(self, scope: str) -> Registry | None:
        # By this method mmengine chooses the registry that builds in a scope.
        return self.mmdet if scope == SCOPE else None


MODELS = ScopedRegistry('MODELS')
TASK_UTILS = ScopedRegistry('TASK_UTILS')
DATASETS = ScopedRegistry('DATASETS')
TRANSFORMS = ScopedRegistry('TRANSFORMS')
HOOKS = ScopedRegistry('HOOKS')
METRICS = ScopedRegistry('METRICS')
VISUALIZERS = ScopedRegistry('VISUALIZERS')
RUNNERS = ScopedRegistry('RUNNERS')
LOOPS = ScopedRegistry('LOOPS')
OPTIM_WRAPPERS = ScopedRegistry('OPTIM_WRAPPERS')
OPTIM_WRAPPER_CONSTRUCTORS = ScopedRegistry('OPTIM_WRAPPER_CONSTRUCTORS')
REGISTRIES = (
    MODELS,
    TASK_UTILS,
    DATASETS,
    TRANSFORMS,
    HOOKS,
    METRICS,
    VISUALIZERS,
    RUNNERS,
    LOOPS,
    OPTIM_WRAPPERS,
    OPTIM_WRAPPER_CONSTRUCTORS,
)
