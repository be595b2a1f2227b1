"""CrossFormer as its authors wrote it: a plain checkout (:mod:`.checkouts`), run unchanged.

Their code needs only a few functions of timm and mmcv 1. Stand-ins supply them, so neither has to be installed.
"""

import contextlib
import importlib
import io
import sys
from types import ModuleType
from unittest import mock

from mmcv.cnn.bricks import DropPath
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from mmdet_setdet.models.backbones.crossformer import ARCHS

from .checkouts import find_checkout

# Their module with a classifier, for images of one size; the one that returns the maps of all stages, for images of any
# size; and the latter as of 2021, in their branch "crossformer".
CLASSIFICATION = 'models.crossformer'
DETECTION = 'models.crossformer_backbone_det'
FIRST_DETECTION = 'models.crossformer_backbone'
OLD_MMCV = (
    'mmdet.utils',
    'mmcv.runner',
    'mmcv.cnn',
    'mmcv.cnn.bricks.transformer',
    'mmcv.cnn.utils.weight_init',
)


def build_crossformer(arch: str, form: str = DETECTION, **changes) -> nn.Module:
    """Build their model of one of our archs.

    Args:
        arch (str): A key of ``ARCHS``.
        form (str): ``CLASSIFICATION``, ``DETECTION`` or, with the checkout at that branch, ``FIRST_DETECTION``.
        **changes: Replacements of their arguments.
    """
    settings = ARCHS[arch]
    heads = settings['embed_dims'] // 32
    arguments = dict(
        embed_dim=settings['embed_dims'],
        depths=list(settings['depths']),
        num_heads=[heads, 2 * heads, 4 * heads, 8 * heads],
        patch_size=[4, 8, 16, 32],
        merge_size=[[2, 4]] * 3,
        mlp_ratio=[4.0] * 4 if form == CLASSIFICATION else 4,
        group_size=list(settings.get('group_sizes', [7] * 4)),
        crs_interval=list(settings.get('intervals', [8, 4, 2, 1])),
        use_acl=settings.get('cooling', False),
        drop_path_rate=settings['drop_path_rate'],
    )
    arguments.update(changes)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its group sizes
        return _import(form).CrossFormer(**arguments)


def stage_maps(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the maps of all stages, also of the classification form, which does not return them itself."""
    if not hasattr(model, 'head'):
        return model(x)
    maps = []
    x = model.patch_embed(x)
    for stage in model.layers:
        for block in stage.blocks:
            x = block(x)
        maps.append(x.unflatten(1, stage.input_resolution).permute(0, 3, 1, 2))
        if stage.downsample is not None:
            x = stage.downsample(x)
    return maps


def _import(name: str) -> ModuleType:
    """Import a module of the checkout with stand-ins for timm and mmcv 1."""
    layers = ModuleType('timm.models.layers')
    layers.DropPath = DropPath
    layers.to_2tuple = to_2tuple
    layers.trunc_normal_ = nn.init.trunc_normal_
    stand_ins = {module: mock.MagicMock() for module in OLD_MMCV}
    stand_ins['timm'] = ModuleType('timm')
    stand_ins['timm.models'] = ModuleType('timm.models')
    stand_ins[layers.__name__] = layers
    path = [str(find_checkout('crossformer')), *sys.path]
    with mock.patch.dict(sys.modules, stand_ins), mock.patch.object(sys, 'path', path):
        for module in list(sys.modules):
            if module.partition('.')[0] == 'models':
                del sys.modules[module]
        return importlib.import_module(name)
