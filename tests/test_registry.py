"""Importing the package adds names and changes none that mmdet registered."""
import subprocess
import sys

import mmdet.registry
import mmengine.registry
import pytest
from mmdet.registry import DATASETS, MODELS, TASK_UTILS

IMPORT_LAST = """
import mmdet.registry, mmengine.registry
from mmdet.utils import register_all_modules
from mmengine.registry import Registry
register_all_modules(init_default_scope=False)

def snapshot(package):
    registries = {name: r for name, r in vars(package).items()
                  if isinstance(r, Registry) and not name.startswith('MMENGINE_')}
    return {(name, key): value for name, r in registries.items() for key, value in r.module_dict.items()}

mmdet_before, mmengine_before = snapshot(mmdet.registry), snapshot(mmengine.registry)
assert len(mmdet_before) > 400
import mmdet_setdet
mmdet_after, mmengine_after = snapshot(mmdet.registry), snapshot(mmengine.registry)
assert mmdet_after.keys() == mmdet_before.keys(), mmdet_after.keys() ^ mmdet_before.keys()
assert all(mmdet_after[key] is value for key, value in mmdet_before.items())
assert all(mmengine_after[key] is value for key, value in mmengine_before.items())
added = {key: mmengine_after[key] for key in mmengine_after.keys() - mmengine_before.keys()}
assert added and all(value.__module__.startswith('mmdet_setdet.') for value in added.values()), added
mmdet_names = {key for _, key in mmdet_before}
assert not mmdet_names & {key for _, key in added}
"""

IMPORT_FIRST = """
import mmdet_setdet
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.registry import init_default_scope
init_default_scope('mmdet')
for registry, name in ((MODELS, 'ResNet'), (MODELS, 'DETR'), (MODELS, 'DETRHead'), (TASK_UTILS, 'HungarianAssigner')):
    assert registry.get(name).__module__.startswith('mmdet.'), name
"""


@pytest.mark.parametrize('program', [IMPORT_LAST, IMPORT_FIRST], ids=['after mmdet', 'before mmdet'])
def test_importing_changes_nothing_of_mmdets(program):
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize('registry, name', [
    (MODELS, 'DNDETR'), (MODELS, 'DNDETRHead'), (MODELS, 'DeformableAttention'), (DATASETS, 'ShapesDataset')])
def test_names_that_mmdet_lacks_resolve_bare(registry, name):
    assert registry.get(name).__module__.startswith('mmdet_setdet.')
    assert registry.get(name) is registry.get(f'mmdet_setdet.{name}')


@pytest.mark.parametrize('registry, name', [
    (MODELS, 'ResNet'), (MODELS, 'DETR'), (MODELS, 'DETRHead'), (MODELS, 'FrozenBN'),
    (TASK_UTILS, 'HungarianAssigner')])
def test_names_that_mmdet_has_stay_mmdets(registry, name):
    assert registry.get(name).__module__.startswith('mmdet.')
    ours = registry.get(f'mmdet_setdet.{name}')
    assert ours.__module__.startswith('mmdet_setdet.')
    assert getattr(mmengine.registry, _attribute(registry)).get(f'mmdet_setdet.{name}') is ours


def _attribute(registry):
    return next(name for name, value in vars(mmdet.registry).items() if value is registry)
