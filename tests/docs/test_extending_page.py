"""The page on extending: each of its parts is built by its config and trains a step, both as they stand there."""

import re
import sys

import pytest
import torch
from helpers.batches import ragged_batch
from helpers.configs import REPOSITORY, SMALL, small_channels
from helpers.pages import python_blocks
from mmdet.registry import MODELS
from mmengine.config import Config

PAGE = (REPOSITORY / 'docs/extending.md').read_text()
SECTIONS = [section for section in PAGE.split('\n## ') if '```python' in section]
TITLES = [section.splitlines()[0] for section in SECTIONS]


def test_every_kind_of_part_has_an_example():
    assert TITLES == ['A detector', 'A query group', 'An assigner', 'A backbone']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('extending')
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.mark.parametrize('section', SECTIONS, ids=TITLES)
def test_it_trains(section, folder):
    part, config = python_blocks(section)
    name = 'part_' + re.search(r'class (\w+)\(', part)[1]
    (folder / f'{name}.py').write_text(part)
    custom_imports = (
        f"custom_imports = dict(imports=['mmdet_setdet', '{name}'], allow_failed_imports=False)\n"
    )
    (folder / f'{name}_config.py').write_text(custom_imports + config)

    cfg = Config.fromfile(folder / f'{name}_config.py')
    changes = dict(SMALL)
    if cfg.model.backbone.type == 'ThreeStrides':
        for key in ('backbone.depth', 'backbone.base_channels', 'neck.in_channels'):
            del changes[f'model.{key}']
    else:
        changes['model.neck.in_channels'] = small_channels(cfg.model)
    cfg.merge_from_dict(changes)
    model = MODELS.build(cfg.model)
    model.init_weights()
    losses = model.train().loss(*ragged_batch())
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all()
        for p in model.parameters()
        if p.requires_grad
    )
    if name == 'part_SecondGroup':
        assert losses['loss_second'] > 0
    if name == 'part_GridDABDETR':
        centres = model.query_embedding.weight[:, :2].sigmoid()
        assert len(torch.unique(centres.round(decimals=4), dim=0)) == model.num_queries
