"""Shared by the tests: small models, small batches, no network."""
import os
import re
from pathlib import Path

import pytest

if 'PYTEST_XDIST_WORKER_COUNT' in os.environ:  # before torch is loaded, and for the processes that tests start
    share = (os.cpu_count() or 1) // int(os.environ['PYTEST_XDIST_WORKER_COUNT'])
    os.environ.setdefault('OMP_NUM_THREADS', str(max(share, 1)))

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

import mmdet_setdet  # noqa: F401

REPOSITORY = Path(__file__).parents[1]
CONFIGS = REPOSITORY / 'configs'
# Names of configs of dense detectors.
DENSE = re.compile(r'(ota|simota|fcos|atss)_')


@pytest.fixture(autouse=True)
def _mmdet_scope():
    """Each test starts in mmdet's scope, as a runner with one of our configs does, on known random numbers."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    yield
    DefaultScope.overwrite_default_scope(None)


@pytest.fixture
def coco128():
    """A folder in COCO's layout with real images, from SETDET_COCO; the test is skipped without."""
    for folder in (os.environ.get('SETDET_COCO'), REPOSITORY.parent / 'shared/data/coco128'):
        if folder and (Path(folder) / 'annotations/instances_val2017.json').exists():
            return Path(folder)
    pytest.skip('no COCO images: set SETDET_COCO to a folder with annotations/, train2017/ and val2017/')


# What makes a DETR of ours or of mmdet small enough for a test: ResNet-18, 2 + 2 layers, 20 queries.
SMALL = {
    'model.backbone.depth': 18,
    'model.backbone.init_cfg': None,
    'model.neck.in_channels': [512],
    'model.encoder.num_layers': 2,
    'model.decoder.num_layers': 2,
    'model.num_queries': 20,
}


def small_model_cfg(name: str, **changes) -> Config:
    """The model of one of our configs, made :data:`SMALL`; ``changes`` are merged into it."""
    cfg = Config.fromfile(CONFIGS / name)
    channels = [count // 4 for count in cfg.model.neck.in_channels]  # ResNet-18 has a quarter of ResNet-50's
    changes = {'neck.in_channels': channels, **changes}
    cfg.merge_from_dict({**SMALL, **{f'model.{key}': value for key, value in changes.items()}})
    return cfg.model
