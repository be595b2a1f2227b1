"""The scope ``mmdet_setdet``: one child registry per mmengine root that this package registers into.

``type='mmdet_setdet.X'`` always means ours. A bare ``type='X'`` means ours only where mmdet has no ``X``: such names
are also put into mmengine's root registry, which mmdet, mmseg and the others search last. A name that mmdet has
(``ResNet``, ``DETR``, ``HungarianAssigner``) keeps meaning mmdet's, and nothing that mmdet registered is touched.
"""
import mmdet.registry
import mmengine.registry
from mmengine.registry import Registry

SCOPE = 'mmdet_setdet'


class ScopedRegistry(Registry):
    """A registry of this package, child of mmengine's registry of the same name.

    Args:
        name (str): Name of mmengine's and mmdet's registry object, e.g. ``'MODELS'``.
        location (str): Module whose import registers everything that belongs here.
    """

    def __init__(self, name: str, location: str) -> None:
        root = getattr(mmengine.registry, name)
        self._mmdet = getattr(mmdet.registry, name)
        super().__init__(root.name, parent=root, scope=SCOPE, locations=[location])

    def get(self, key: str):
        """Ours, else mmdet's: so ``scope='mmdet_setdet'`` is enough to build a config, as DetInferencer does."""
        name = key.removeprefix(f'{SCOPE}.')
        return self.module_dict[name] if name in self.module_dict else self._mmdet.get(key)

    def _register_module(self, module, module_name=None, force=False) -> None:
        super()._register_module(module, module_name, force)
        self._mmdet.import_from_location()
        names = module.__name__ if module_name is None else module_name
        for name in [names] if isinstance(names, str) else names:
            if name not in self._mmdet.module_dict and name not in self.parent.module_dict:
                self.parent.register_module(name=name, module=module)


MODELS = ScopedRegistry('MODELS', 'mmdet_setdet.models')
TASK_UTILS = ScopedRegistry('TASK_UTILS', 'mmdet_setdet.models')
DATASETS = ScopedRegistry('DATASETS', 'mmdet_setdet.datasets')
TRANSFORMS = ScopedRegistry('TRANSFORMS', 'mmdet_setdet.datasets')
HOOKS = ScopedRegistry('HOOKS', 'mmdet_setdet.engine')
METRICS = ScopedRegistry('METRICS', 'mmdet_setdet.evaluation')
VISUALIZERS = ScopedRegistry('VISUALIZERS', 'mmdet_setdet.visualization')
