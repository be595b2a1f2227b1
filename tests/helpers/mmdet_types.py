"""A pytest plugin: mmdet's types for detectors, heads and the Hungarian assigner build ours of the same name.

``pytest -p helpers.mmdet_types`` so runs mmdet's own tests on our classes, see ``tests/run_mmdet_tests.py``.
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
    'DINO',
    'DINOHead',
)

for model_name in MODEL_NAMES:
    MODELS.module_dict[model_name] = registry.MODELS.get(f'mmdet_setdet.{model_name}')
hungarian = registry.TASK_UTILS.get('mmdet_setdet.HungarianAssigner')
TASK_UTILS.module_dict['HungarianAssigner'] = hungarian
assigners.HungarianAssigner = hungarian

# mmdet looks for its configs beside an installed package; they lie in the checkout, where pytest runs.
mmdet_testing._get_config_directory = lambda: str(Path('configs').resolve())
# Pretrained backbones would be downloaded; the tests ask for nothing that depends on them.
PretrainedInit.__call__ = lambda self, module: None
