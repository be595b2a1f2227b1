"""What the import changes in mmengine can be left out, by name."""

import os

import pytest
from helpers.configs import REPOSITORY
from helpers.fresh import run_fresh

from mmdet_setdet.mmengine_patches import PATCHES, SWITCH

SNAPSHOT = """
import warnings
import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.fileio.backends import backends
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, checkpoint
from torch.utils.flop_counter import flop_registry

def parts():
    return dict(
        bare_names='CrossFormer' in MODELS.module_dict,
        config_names=(Config._get_cfg_path, MODULE2PACKAGE.get('mmdet_setdet')),
        safe_checkpoints=(CheckpointLoader.load_checkpoint, getattr(checkpoint, '_safe_torch_load', None)),
        converted_checkpoints=any('dn-detr' in prefix for prefix in CheckpointLoader._schemes),
        named_checkpoints=any('w-' in prefix for prefix in CheckpointLoader._schemes),
        generated_images='shapes' in backends,
        operation_counts=torch.ops.mkldnn._linear_pointwise in flop_registry
        or not torch.backends.mkldnn.is_available())

before = parts()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    import mmdet_setdet
after = parts()
print('changed:', *(name for name in before if before[name] != after[name]))
print('warned:', *(str(each.message) for each in caught if 'MMDET_SETDET' in str(each.message)), sep='|')
"""


def run(switch, program):
    environment = {**os.environ, SWITCH: switch, 'PYTHONPATH': str(REPOSITORY)}
    return run_fresh('-c', program, env=environment)


@pytest.mark.parametrize(
    ('switch', 'left_out'),
    [
        ('', []),
        ('config_names, generated_images', ['config_names', 'generated_images']),
        ('all', list(PATCHES)),
    ],
)
def test_changes_are_left_out_by_name_with_a_warning(switch, left_out):
    done = run(switch, SNAPSHOT)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    changed = next(line for line in lines if line.startswith('changed:'))
    warned = next(line for line in lines if line.startswith('warned:'))
    assert changed.split()[1:] == [name for name in PATCHES if name not in left_out]
    for name in PATCHES:
        assert (f'leaves out {name}: {PATCHES[name].without}' in warned) == (name in left_out)


LOAD = (
    'from mmengine.runner import CheckpointLoader; CheckpointLoader.load_checkpoint("detr+x.pth")'
)


@pytest.mark.parametrize(
    ('switch', 'program', 'message'),
    [
        (
            'all',
            'from mmdet_setdet.datasets import ShapesDataset; ShapesDataset(num_images=1)',
            'ShapesDataset needs generated_images, which the environment variable MMDET_SETDET_WITHOUT leaves out',
        ),
        (
            'converted_checkpoints',
            f'import mmdet_setdet; {LOAD}',
            'converting a checkpoint while it is loaded needs converted_checkpoints, which the environment variable',
        ),
        (
            'bare_name',
            'import mmdet_setdet',
            'no change is named bare_name; choose from bare_names, config',
        ),
    ],
)
def test_missing_feature_says_so(switch, program, message):
    done = run(switch, program)
    assert done.returncode != 0
    assert message in done.stderr
