"""Imports modules of a plain checkout of Megvii-BaseDetection/cvpods, which as a whole needs CUDA to be built.

Only the files in :data:`FILES` are read, unchanged; everything else that they name is an empty stand-in, but for what
:data:`REPLACED` has: compiled operators, by mmcv, and attribute dictionaries.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path
from unittest import mock

from mmcv.ops import batched_nms, modulated_deform_conv2d

FILES = {
    'cvpods.configs.base_config',
    'cvpods.configs.base_detection_config',
    'cvpods.configs.config_helper',
    'cvpods.configs.fcos_config',
    'cvpods.layers.batch_norm',
    'cvpods.layers.deform_conv',
    'cvpods.layers.shape_spec',
    'cvpods.layers.wrappers',
    'cvpods.modeling.anchor_generator',
    'cvpods.modeling.backbone.backbone',
    'cvpods.modeling.backbone.fpn',
    'cvpods.modeling.backbone.resnet',
    'cvpods.modeling.box_regression',
    'cvpods.modeling.losses.focal_loss',
    'cvpods.modeling.losses.iou_loss',
    'cvpods.modeling.meta_arch.retinanet',
    'cvpods.modeling.nn_utils.weight_init',
    'cvpods.modeling.postprocessing',
    'cvpods.modeling.test_time_augmentation',
    'cvpods.structures.boxes',
    'cvpods.structures.image_list',
    'cvpods.structures.instances',
}
# Where a package takes a name from; None: the module of that name.
HOMES = {
    ('cvpods.layers', 'ShapeSpec'): 'shape_spec',
    **{('cvpods.layers', name): 'wrappers' for name in ('Conv2d', 'cat')},
    **{('cvpods.layers', name): 'deform_conv' for name in ('DeformConv', 'ModulatedDeformConv')},
    **{
        ('cvpods.layers', name): 'batch_norm'
        for name in ('FrozenBatchNorm2d', 'get_activation', 'get_norm')
    },
    ('cvpods.modeling.backbone', 'Backbone'): 'backbone',
    ('cvpods.modeling.losses', 'iou_loss'): 'iou_loss',
    ('cvpods.modeling.losses', 'sigmoid_focal_loss_jit'): 'focal_loss',
    ('cvpods.modeling.nn_utils', 'weight_init'): None,
    ('cvpods.structures', 'Boxes'): 'boxes',
    ('cvpods.structures', 'ImageList'): 'image_list',
    ('cvpods.structures', 'Instances'): 'instances',
}
TOPS = ('cvpods', 'colorama', 'easydict', 'loguru', 'megfile', 'six', 'tabulate', 'torchvision')


class Attributes(dict):
    """A dict whose entries are attributes, at all depths."""

    def __init__(self, entries=(), **more) -> None:
        super().__init__()
        for key, value in dict(entries, **more).items():
            self[key] = value

    def __setitem__(self, key, value) -> None:
        super().__setitem__(key, Attributes(value) if type(value) is dict else value)

    def __getattr__(self, key):
        if key in self:
            return self[key]
        raise AttributeError(key)

    __setattr__ = __setitem__


def _nms(boxes, scores, classes, threshold):
    """torchvision's ``batched_nms``: indices of what is kept, the highest score first."""
    return batched_nms(boxes, scores, classes, dict(type='nms', iou_threshold=threshold))[1]


REPLACED = {
    ('cvpods.layers', 'batched_nms'): _nms,
    ('cvpods.utils', 'comm'): types.SimpleNamespace(DDP_TYPES=()),
    ('easydict', 'EasyDict'): Attributes,
    ('six', 'iteritems'): lambda mapping: mapping.items(),
}


class StandIn(types.ModuleType):
    """A module of a package that is not read."""

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        key = self.__name__, name
        if key in REPLACED:
            return REPLACED[key]
        if key in HOMES:
            module = importlib.import_module(f'{self.__name__}.{HOMES[key] or name}')
            # Written down, because the import has put a module in the place of a function of the same name.
            setattr(self, name, getattr(module, name) if HOMES[key] else module)
            return vars(self)[name]
        return mock.MagicMock(name='.'.join(key))


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the files of a checkout, and a :class:`StandIn` for everything else in :data:`TOPS`."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout

    def find_spec(self, fullname, path=None, target=None):
        if fullname in FILES:
            return importlib.util.spec_from_file_location(
                fullname, self.checkout / f'{fullname.replace(".", "/")}.py'
            )
        if fullname.partition('.')[0] in TOPS:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module) -> None:
        pass


def install(checkout: Path) -> None:
    """From now on ``import cvpods...`` finds the files of a checkout."""
    sys.meta_path.insert(0, Finder(checkout))
    importlib.import_module(
        'cvpods.layers.deform_conv'
    ).modulated_deform_conv = modulated_deform_conv2d
