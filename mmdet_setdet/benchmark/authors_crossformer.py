"""The backbone of CrossFormer's authors as a peer: a plain checkout under ``$SETDET_REF``, run unchanged.

Of timm and of mmcv 1 it only needs a few functions, for which there are stand-ins; so neither has to be installed.
"""
import contextlib
import importlib
import io
import os
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

from mmcv.cnn.bricks import DropPath
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from ..models.backbones.crossformer import ARCHS

FOLDER = 'cheerss+CrossFormer'
# Modules of theirs: with a classifier for images of one size, with maps of all stages for images of any size, and the
# latter in their branch "crossformer", the code of 2021.
CLASSIFICATION, DETECTION = 'models.crossformer', 'models.crossformer_backbone_det'
FIRST_DETECTION = 'models.crossformer_backbone'
OLD_MMCV = ('mmdet.utils', 'mmcv.runner', 'mmcv.cnn', 'mmcv.cnn.bricks.transformer', 'mmcv.cnn.utils.weight_init')


def checkout() -> Path | None:
    """Where the authors' code lies, or None."""
    path = Path(os.environ.get('SETDET_REF', ''), FOLDER)
    return path if 'SETDET_REF' in os.environ and (path / 'models/crossformer.py').exists() else None


def build(arch: str, form: str = DETECTION, **changes) -> nn.Module:
    """Their model of one of our archs.

    Args:
        arch (str): A key of ``ARCHS``.
        form (str): ``CLASSIFICATION``, ``DETECTION`` or, with the checkout at that branch, ``FIRST_DETECTION``.
        **changes: Of their arguments.
    """
    settings = dict(ARCHS[arch])
    heads = [settings['embed_dims'] // 32 * 2**stage for stage in range(4)]
    arguments = dict(
        embed_dim=settings['embed_dims'], depths=list(settings['depths']), num_heads=heads, patch_size=[4, 8, 16, 32],
        merge_size=[[2, 4]] * 3, mlp_ratio=[4.] * 4 if form == CLASSIFICATION else 4,
        group_size=list(settings.get('group_sizes', [7] * 4)),
        crs_interval=list(settings.get('intervals', [8, 4, 2, 1])),
        use_acl=settings.get('cooling', False), drop_path_rate=settings['drop_path_rate'])
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its group sizes
        return _import(form).CrossFormer(**{**arguments, **changes})


def stage_maps(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Maps of all stages, also of the classification form, which does not return them."""
    if not hasattr(model, 'head'):
        return model(x)
    maps, x = [], model.patch_embed(x)
    for stage in model.layers:
        for block in stage.blocks:
            x = block(x)
        maps.append(x.unflatten(1, stage.input_resolution).permute(0, 3, 1, 2))
        x = x if stage.downsample is None else stage.downsample(x)
    return maps


def _import(name: str) -> ModuleType:
    layers = ModuleType('timm.models.layers')
    layers.DropPath, layers.to_2tuple, layers.trunc_normal_ = DropPath, to_2tuple, nn.init.trunc_normal_
    stand_ins = {
        'timm': ModuleType('timm'), 'timm.models': ModuleType('timm.models'), layers.__name__: layers,
        **{module: mock.MagicMock() for module in OLD_MMCV},
    }
    with mock.patch.dict(sys.modules, stand_ins), mock.patch.object(sys, 'path', [str(checkout()), *sys.path]):
        for module in [module for module in sys.modules if module.partition('.')[0] == 'models']:
            del sys.modules[module]
        return importlib.import_module(name)
