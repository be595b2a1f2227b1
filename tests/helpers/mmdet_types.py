"""A pytest plugin: mmdet's types for detectors, heads and the Hungarian assigner build ours of the same name.

``pytest -p helpers.mmdet_types`` so runs mmdet's own tests on our classes, see ``tests/run_mmdet_tests.py``. Two-stage
Deformable DETR, which ours does not have, stays mmdet's.
"""

from pathlib import Path

import mmdet.testing._utils as mmdet_testing
from mmdet.models.task_modules import assigners
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.model import PretrainedInit

import mmdet_setdet  # noqa: F401
from mmdet_setdet import registry

MODEL_NAMES = (
    'DETR',
    'DETRHead',
    'ConditionalDETR',
    'ConditionalDETRHead',
    'DABDETR',
    'DABDETRHead',
    'DeformableDETR',
    'DeformableDETRHead',
)


def one_stage_is_ours(name: str):
    """Return a builder of our class, but of mmdet's where two stages are asked for."""
    ours, mmdets = registry.MODELS.get(f'mmdet_setdet.{name}'), MODELS.get(name)

    def build(*args, **kwargs):
        chosen = mmdets if kwargs.get('as_two_stage') else ours
        print(f'{name}: {chosen.__module__}')
        return chosen(*args, **kwargs)

    return build


for model_name in MODEL_NAMES:
    MODELS.module_dict[model_name] = one_stage_is_ours(model_name)
hungarian = registry.TASK_UTILS.get('mmdet_setdet.HungarianAssigner')
TASK_UTILS.module_dict['HungarianAssigner'] = hungarian
assigners.HungarianAssigner = hungarian

# mmdet looks for its configs beside an installed package; they lie in the checkout, where pytest runs.
mmdet_testing._get_config_directory = lambda: str(Path('configs').resolve())
# Pretrained backbones would be downloaded; the tests ask for nothing that depends on them.
PretrainedInit.__call__ = lambda self, module: None
