"""One command trains on a folder, whatever its format, and the trained detector knows its classes."""

import sys

import pytest
import torch
from helpers.folders import CLASSES, WRITERS
from helpers.tiny_detector import new_name, write_config

from mmdet_setdet import commands


@pytest.mark.slow
@pytest.mark.parametrize('kind', WRITERS)
def test_one_command_trains_on_each_format(kind, tmp_path, monkeypatch):
    # The command sets both for the script that it runs.
    monkeypatch.setattr(sys, 'argv', ['setdet'])
    monkeypatch.setattr(sys, 'path', [*sys.path])
    data, work_dir = tmp_path / kind, tmp_path / 'work'
    WRITERS[kind](data)
    config = write_config(tmp_path, tmp_path)
    places = ['--data', str(data), '--work-dir', str(work_dir)]
    options = [f'experiment_name={new_name()}', 'train_cfg.max_epochs=1']
    commands.main(['train', config, *places, '--cfg-options', *options])
    state = torch.load(work_dir / 'epoch_1.pth', weights_only=False)
    assert state['meta']['iter'] == 2
    assert state['meta']['dataset_meta']['classes'] == tuple(CLASSES)
    assert (work_dir / 'data' / 'train.json').is_file()
    assert f'{data}' in (work_dir / 'tiny.py').read_text()
