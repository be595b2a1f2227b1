"""What the tools print: messages that tell nothing are left out, all others come through."""

import logging
import subprocess
import sys

import pytest
from helpers.configs import REPOSITORY
from helpers.tiny_detector import write_config, write_dataset

from mmdet_setdet.noise import LOGS, PRINTS, WARNINGS, is_no_noise, without_prints

RUN = """
import sys, warnings
sys.path.insert(0, 'tests')
from helpers.tiny_detector import tool
train, test = tool('train'), tool('test')
config, work_dir = sys.argv[1:]
train.main([config, '--work-dir', work_dir, '--cfg-options', 'train_cfg.max_epochs=1'])
warnings.warn('a warning that matters')
options = ['--show-dir', 'pictures', '--work-dir', work_dir]
test.main([config, f'{work_dir}/epoch_1.pth', *options])
"""


def test_tools_print_no_noise(tmp_path):
    write_dataset(tmp_path / 'data', num_images=2)
    config = write_config(tmp_path, tmp_path / 'data')
    command = [sys.executable, '-c', RUN, config, str(tmp_path / 'work')]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'coco/bbox_mAP' in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if 'Warn' in line]
    assert len(lines) == 1
    assert 'a warning that matters' in lines[0]
    for start in (*PRINTS, 'FileClient', 'HardDiskBackend'):
        assert start not in done.stdout + done.stderr


def test_other_prints_pass(capsys):
    with without_prints():
        print('Could not import OneDL. Skipping OneDL datasets.')
        print('Could not import the file of the user')
    assert capsys.readouterr().out == 'Could not import the file of the user\n'


@pytest.mark.parametrize(
    ('message', 'is_shown'),
    [
        ('"FileClient" will be deprecated in future. Please use io functions', False),
        ('The model and loaded state dict do not match exactly', True),
        ('images/3.jpg: "FileClient" will be deprecated', True),
    ],
)
def test_log(message, is_shown):
    record = logging.LogRecord('x', logging.WARNING, '', 0, message, None, None)
    assert is_no_noise(record) == is_shown


def test_every_message_has_a_reason():
    for table in (LOGS, PRINTS, WARNINGS):
        assert all(len(reason) > 5 for reason in table.values())
