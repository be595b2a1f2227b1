"""Weights are found by the name of their config, and only whole ones."""

import io

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mmdet_setdet.checkpoints.named import VARIABLE, digest, find_weights
from mmdet_setdet.commands import predict
from mmdet_setdet.errors import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder in which weights are found."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def write_weights(folder, name, value=0.0):
    file = io.BytesIO()
    torch.save(dict(state_dict=dict(weight=torch.full((4,), value))), file)
    path = folder / f'{name}-{digest(file.getvalue())}.pth'
    path.write_bytes(file.getvalue())
    return path


def load(name):
    return CheckpointLoader.load_checkpoint(name, 'cpu', logger='silent')['state_dict']['weight']


def test_mmengine_loads_weights_by_the_name_of_their_config(folder):
    file = write_weights(folder, 'detr-a', 1.0)
    write_weights(folder, 'detr-a_large', 2.0)
    assert find_weights('detr-a') == file
    assert load('detr-a').tolist() == [1.0] * 4
    assert load('detr-a_large').tolist() == [2.0] * 4


def test_a_file_of_the_name_goes_first(folder, monkeypatch):
    monkeypatch.chdir(folder)
    write_weights(folder, 'detr', 1.0)
    write_weights(folder, 'other', 3.0).rename(folder / 'detr')
    assert load('detr').tolist() == [3.0] * 4


def test_damaged_weights_are_refused(folder):
    file = write_weights(folder, 'detr')
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf'{file}: damaged or changed, .* {digest(content)}; get'):
        load('detr')


def test_several_weights_of_one_config_are_named(folder):
    files = [write_weights(folder, 'detr', value) for value in (1.0, 2.0)]
    with pytest.raises(InputError, match='several weights of detr; give the path of one') as error:
        load('detr')
    assert all(file.name in str(error.value) for file in files)


def test_what_is_missing_is_said(folder, monkeypatch):
    with pytest.raises(InputError, match=rf'{VARIABLE}={folder}: no weights of detr there'):
        load('detr')
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(InputError, match=f'detr: no such checkpoint file; .* set {VARIABLE} to'):
        load('detr')


def test_a_config_file_needs_a_checkpoint():
    with pytest.raises(InputError, match=r'detr\.py: a config needs --checkpoint'):
        predict.main(['detr.py', 'photo.jpg'])
