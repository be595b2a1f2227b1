"""A checkpoint that carries code is refused wherever one is read, and the code does not run."""

import argparse
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_detector import new_name, tool, write_config, write_dataset
from mmdet.apis import DetInferencer, init_detector
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint

from mmdet_setdet.errors import InputError


class Carrier:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp('safe_load')
    write_dataset(folder / 'data')
    return write_config(folder, folder / 'data')


def _attacks(marker: Path) -> dict:
    command = f'touch {marker}'
    return dict(
        system=Carrier(os.system, command),
        subprocess=Carrier(subprocess.getoutput, command),
        eval=Carrier(eval, f"__import__('os').system('{command}')"),
        # A step towards any function: an attribute of something that is allowed.
        getattr=Carrier(getattr, HistoryBuffer, '__init__'),
    )


@pytest.fixture(params=['system', 'subprocess', 'eval', 'getattr'])
def attack(request, tmp_path):
    """(checkpoint with code, file that its code would make)."""
    marker = tmp_path / 'marker'
    path = tmp_path / 'evil.pth'
    torch.save(dict(state_dict={}, meta=_attacks(marker)[request.param]), path)
    return str(path), marker


@pytest.mark.parametrize('attack', ['system'], indirect=True)
@pytest.mark.parametrize(
    'reader', ['resume', 'load_from', 'pretrained', 'test', 'init_detector', 'inferencer']
)
def test_every_reader_refuses(tiny, attack, reader, tmp_path, monkeypatch):
    # The usual advice against refused checkpoints; it must not open this door.
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    checkpoint, marker = attack
    options = ['--work-dir', str(tmp_path), '--cfg-options', f'experiment_name={new_name()}']
    readers = dict(
        resume=lambda: tool('train').main([tiny, '--resume', checkpoint, *options]),
        load_from=lambda: tool('train').main([tiny, *options, f'load_from={checkpoint}']),
        pretrained=lambda: BaseModule(
            dict(type='Pretrained', checkpoint=checkpoint)
        ).init_weights(),
        test=lambda: tool('test').main([tiny, checkpoint, *options]),
        init_detector=lambda: init_detector(tiny, checkpoint, device='cpu'),
        inferencer=lambda: DetInferencer(tiny, checkpoint, device='cpu'),
    )
    with pytest.raises(
        InputError,
        match=r'evil.pth: refused, because reading it would run code: it names \w+.system,',
    ):
        readers[reader]()
    assert not marker.exists()
    assert os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] == '1'


def test_every_kind_of_code_is_refused(attack):
    checkpoint, marker = attack
    with pytest.raises(InputError, match='refused, because reading it would run code'):
        load_checkpoint(torch.nn.Linear(1, 1), checkpoint)
    assert not marker.exists()


def test_newest_checkpoint_with_code_is_not_resumed(tiny, tmp_path):
    code = Carrier(os.system, f'touch {tmp_path / "marker"}')
    torch.save(dict(state_dict={}, meta=code), tmp_path / 'epoch_1.pth')
    with pytest.raises(InputError, match='epoch_1.pth: refused'):
        tool('train').main(
            [
                tiny,
                '--resume',
                '--work-dir',
                str(tmp_path),
                '--cfg-options',
                f'experiment_name={new_name()}',
            ]
        )
    assert not (tmp_path / 'marker').exists()


def test_url(attack, monkeypatch):
    """Files from the network are read by torch.hub, which on its own allows everything."""
    checkpoint, marker = attack
    monkeypatch.setenv('TORCH_HOME', str(marker.parent))
    cache = marker.parent / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    os.rename(checkpoint, cache / 'evil.pth')
    with pytest.raises(InputError, match='evil.pth: refused'):
        CheckpointLoader.load_checkpoint('http://nowhere.invalid/evil.pth', 'cpu')
    assert not marker.exists()


def cut_file(folder):
    torch.save(dict(state_dict=dict(weight=torch.zeros(9))), folder / 'whole.pth')
    content = (folder / 'whole.pth').read_bytes()
    return content[: len(content) // 2]


def test_cut_download_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    cache = tmp_path / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    (cache / 'cut.pth').write_bytes(cut_file(tmp_path))
    with pytest.raises(InputError, match='nowhere.invalid/cut.pth: incomplete or damaged'):
        CheckpointLoader.load_checkpoint('http://nowhere.invalid/cut.pth', 'cpu')


def test_error_of_a_whole_file_is_not_called_damage(tmp_path):
    def no_device(storage, location):
        raise RuntimeError('no such device')

    torch.save(dict(weight=torch.zeros(9)), tmp_path / 'whole.pth')
    with pytest.raises(RuntimeError, match='no such device') as caught:
        CheckpointLoader.load_checkpoint(str(tmp_path / 'whole.pth'), map_location=no_device)
    assert not isinstance(caught.value, InputError)


def test_harmless_content_is_read(tmp_path):
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    content = dict(
        weight=torch.ones(2),
        args=argparse.Namespace(lr=1e-4),
        history=history,
        scalar=np.float64(2),
        array=np.arange(3),
        flags=np.array([True]),
    )
    torch.save(content, tmp_path / 'good.pth')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'good.pth'), 'cpu')
    assert loaded['args'].lr == 1e-4
    assert loaded['history'].mean() == 2.0
    assert loaded['scalar'] == 2
    assert loaded['array'].tolist() == [0, 1, 2]
    assert loaded['flags'].all()


def test_torch_load_itself_is_left_alone(tmp_path):
    torch.save(Carrier(len, 'abc'), tmp_path / 'own.pth')
    assert torch.load(tmp_path / 'own.pth', weights_only=False) == 3
