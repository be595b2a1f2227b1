"""Importing the package adds names and changes none that mmdet registered; a bare name means the same in each scope."""

import mmdet.registry
import mmengine.registry
import pytest
from helpers.fresh import run_fresh
from mmdet.registry import DATASETS, MODELS, TASK_UTILS
from mmengine.registry import DefaultScope

import mmdet_setdet.registry

IMPORT_LAST = """
import mmdet.registry, mmengine.registry
from mmdet.utils import register_all_modules
from mmengine.registry import Registry
register_all_modules(init_default_scope=False)

def snapshot(package):
    classes = {}
    for name, registry in vars(package).items():
        if isinstance(registry, Registry) and not name.startswith('MMENGINE_'):
            classes.update({(name, key): value for key, value in registry.module_dict.items()})
    return classes

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


@pytest.mark.parametrize(
    'program', [IMPORT_LAST, IMPORT_FIRST], ids=['after mmdet', 'before mmdet']
)
def test_importing_changes_nothing_of_mmdets(program):
    result = run_fresh('-c', program)
    assert result.returncode == 0, result.stderr


ONLY_OURS = [
    (MODELS, 'CrossFormer'),
    (MODELS, 'DNDETR'),
    (MODELS, 'DeformableAttention'),
    (MODELS, 'ImageClassifier'),
    (DATASETS, 'ShapesDataset'),
    (mmdet.registry.RUNNERS, 'CheckingRunner'),
]
MMDET_HAS = [
    (MODELS, 'ResNet'),
    (MODELS, 'DETR'),
    (MODELS, 'DETRHead'),
    (MODELS, 'FrozenBN'),
    (TASK_UTILS, 'HungarianAssigner'),
]


@pytest.mark.parametrize('scope', ['mmdet', 'mmdet_setdet', 'mmseg', None])
@pytest.mark.parametrize(('registry', 'name'), ONLY_OURS)
def test_bare_name_is_ours_if_mmdet_has_none(scope, registry, name):
    cls = resolve(registry, name, scope)
    assert cls.__module__.startswith('mmdet_setdet.')
    assert cls is resolve(registry, f'mmdet_setdet.{name}', scope)


@pytest.mark.parametrize('scope', ['mmdet', 'mmdet_setdet'])
@pytest.mark.parametrize(('registry', 'name'), MMDET_HAS)
def test_bare_name_is_mmdets_if_it_has_one(scope, registry, name):
    assert resolve(registry, name, scope).__module__.startswith('mmdet.')
    assert resolve(registry, f'mmdet_setdet.{name}', scope).__module__.startswith('mmdet_setdet.')


@pytest.mark.parametrize('scope', ['mmdet', 'mmdet_setdet', None])
def test_our_registries_build_by_the_same_rule(scope):
    """What our models build from configs without a scope, with our registries."""
    with DefaultScope.overwrite_default_scope(scope):
        theirs = mmdet_setdet.registry.MODELS.build(dict(type='L1Loss'))
        ours = mmdet_setdet.registry.TASK_UTILS.build(dict(type='OTAAssigner'))
    assert type(theirs).__module__.startswith('mmdet.')
    assert type(ours).__module__.startswith('mmdet_setdet.')


@pytest.mark.parametrize('scope', ['mmdet', 'mmdet_setdet'])
def test_class_with_two_names(scope, monkeypatch):
    """One name that mmdet has and one that it lacks."""
    from mmdet_setdet.mmengine_patches import bare_names

    class TwoNames:
        pass

    ours = mmdet_setdet.registry.MODELS
    for registry in (ours, mmengine.registry.MODELS):
        monkeypatch.setattr(registry, '_module_dict', dict(registry.module_dict))
    ours.register_module(name=['ATSS', 'AnotherATSS'], module=TwoNames)
    bare_names()
    assert resolve(MODELS, 'AnotherATSS', scope) is TwoNames
    assert resolve(MODELS, 'mmdet_setdet.ATSS', scope) is TwoNames
    assert resolve(MODELS, 'ATSS', scope).__module__.startswith('mmdet.')


def resolve(registry, name, scope):
    """The class that a config of a scope means by ``type=name``, as mmengine's builders look it up."""
    attribute = next(key for key, value in vars(mmdet.registry).items() if value is registry)
    root = getattr(mmengine.registry, attribute)
    with root.switch_scope_and_registry(scope) as scoped:
        return scoped.get(name)
