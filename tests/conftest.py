"""Fixtures of all tests; what they import lies in tests/helpers."""

import gc
import logging
import os
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

# Before torch is loaded, and for the processes that tests start.
if 'PYTEST_XDIST_WORKER_COUNT' in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ['PYTEST_XDIST_WORKER_COUNT'])
    os.environ.setdefault('OMP_NUM_THREADS', str(max(share, 1)))
# The tests are the same with and without a GPU; `make test-cuda` runs those that want one.
if os.environ.get('SETDET_TEST_CUDA') != '1':
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

import mmengine.config.config
import mmengine.config.utils
import torch
from helpers.configs import REPOSITORY
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.visualization import Visualizer
from yapf.yapflib import yapf_api

import mmdet_setdet  # noqa: F401

# Each training writes its config down, which takes yapf up to two seconds to lay out. The two mmengines differ in where
# they look for it.
for module in (yapf_api, mmengine.config.config):
    module.FormatCode = lambda text, **style: (text, False)
# For each base named `mmdet::...` mmengine reads all 100 metafiles of mmdet, which takes longer than the config.
mmengine.config.utils.load = cache(mmengine.config.utils.load)


def pytest_collection_modifyitems(items):
    """Run files that fork first, then those of many tests, so that several processes end together.

    A fork lacks the threads, of OpenMP or of autograd, that other tests have started, and waits for them or refuses.
    """
    count = Counter(item.path for item in items)
    items.sort(
        key=lambda item: (item.get_closest_marker('forks') is None, -count[item.path], item.path)
    )


def pytest_collection_finish():
    """Spare what has been imported from the search for garbage, which mmengine starts for each data set."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _mmdet_scope():
    """Each test starts in mmdet's scope, as a runner with one of our configs does.

    Random numbers are known, and as many threads compute as before the test ahead of it.
    """
    init_default_scope('mmdet')
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    DefaultScope.overwrite_default_scope(None)
    # The next test's hooks would draw with the visualizer of this one.
    Visualizer._instance_dict.clear()


@pytest.fixture(scope='module')
def one_thread():
    """Nothing in this file starts threads of OpenMP."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def coco128():
    """A folder in COCO's layout with real images, from SETDET_COCO; the test is skipped without."""
    for folder in (os.environ.get('SETDET_COCO'), REPOSITORY.parent / 'shared/data/coco128'):
        if folder and (Path(folder) / 'annotations/instances_val2017.json').exists():
            return Path(folder)
    pytest.skip(
        'no COCO images: set SETDET_COCO to a folder with annotations/, train2017/ and val2017/'
    )


@pytest.fixture
def warnings():
    """Messages of the warnings of mmengine's logger."""
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)
