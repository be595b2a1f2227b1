"""Files that are no checkpoints, or not of this model, given to the tools that read them."""

import copy
import json
import os
import pickle
import random

import pytest
import torch
from helpers.tiny_detector import new_name, write_annotations


class RunsCode:
    """A pickle that would run a command."""

    def __reduce__(self):
        return os.system, ('exit 3',)


@pytest.fixture(scope='module')
def checkpoint(tiny_data, all_tools):
    """A checkpoint of the config, as training saves it."""
    config, root, coco = tiny_data
    write_annotations(root, coco)
    argv = [config, '--work-dir', str(all_tools.work_dir), '--cfg-options']
    argv += ['default_hooks.checkpoint.interval=1', f'experiment_name={new_name()}']
    all_tools.tools['train'].main(argv)
    return (all_tools.work_dir / 'iter_1.pth').read_bytes()


@pytest.fixture
def use(tools, tiny_data, expect_good, tmp_path):
    """A function that gives bytes as a checkpoint to a tool."""

    def call(name: str, content: bytes, kind: str | None = None):
        path = tmp_path / 'x.pth'
        path.write_bytes(content)
        if name == 'test':
            outcome = tools.run('test', tiny_data[0], str(path))
        elif name == 'convert':
            outcome = tools.convert(str(path), str(tmp_path / 'converted.pth'))
        else:
            outcome = tools.run(
                'train', tiny_data[0], options=[f'load_from={path}', f'resume={name == "resume"}']
            )
        assert kind in (None, expect_good(outcome).kind)

    return call


READERS = ('test', 'load_from', 'resume', 'convert')


@pytest.mark.parametrize('name', READERS)
@pytest.mark.parametrize('share', [0, 0.0001, 0.1, 0.5, 0.9, 0.9999])
def test_truncated(use, checkpoint, name, share):
    use(name, checkpoint[: int(share * len(checkpoint))], 'refused')


@pytest.mark.parametrize('seed', range(16))
def test_flipped_bytes(use, checkpoint, seed):
    generator = random.Random(seed)
    content = bytearray(checkpoint)
    # Half of them where the pickle and the table of contents lie, the rest anywhere.
    places = (len(content), 4000)[seed % 2]
    for _ in range(4):
        content[generator.randrange(places)] ^= 1 << generator.randrange(8)
    use(READERS[seed % 4], bytes(content))


CONTENTS = {
    'empty': {},
    'list': [1, 2],
    'none': None,
    'number': 3,
    'tensor': torch.zeros(3),
    'text': 'weights',
    'no_weights': dict(state_dict={}),
    'list_of_weights': dict(state_dict=[torch.zeros(3)]),
    'none_as_weights': dict(state_dict=None),
    'numbers_as_weights': dict(state_dict={'backbone.conv1.weight': 3}),
    'numbers_as_names': dict(state_dict={3: torch.zeros(3)}),
    'other_model': dict(state_dict={'conv.weight': torch.zeros(3, 3)}),
    'meta_of_another_kind': dict(state_dict={'conv.weight': torch.zeros(3)}, meta=[1]),
    'runs_code': dict(state_dict=RunsCode()),
}


@pytest.mark.parametrize('name', ['test', 'resume', 'convert'])
@pytest.mark.parametrize('content', CONTENTS)
def test_other_content(use, tmp_path, name, content):
    torch.save(CONTENTS[content], tmp_path / 'other.pth')
    use(name, (tmp_path / 'other.pth').read_bytes(), 'refused')


@pytest.mark.parametrize('name', READERS)
@pytest.mark.parametrize('content', ['text', 'json', 'pickle', 'zeros'])
def test_other_files(use, name, content):
    contents = dict(
        text=b'not a checkpoint',
        json=json.dumps([1, 2]).encode(),
        pickle=pickle.dumps(dict(state_dict=RunsCode())),
        zeros=bytes(5000),
    )
    use(name, contents[content], 'refused')


CHANGES = {
    'shape': lambda saved: saved['state_dict'].update({'level_embed': torch.zeros(7)}),
    'rows': lambda saved: widen(saved['state_dict'], 'bbox_head.fc_cls.weight'),
    'half': lambda saved: [saved['state_dict'].popitem() for _ in range(9)],
    'no_meta': lambda saved: saved.pop('meta'),
    'no_optimizer': lambda saved: saved.pop('optimizer'),
    'empty_optimizer': lambda saved: saved.update(optimizer={}),
    'list_as_optimizer': lambda saved: saved.update(optimizer=[1]),
    'no_iteration': lambda saved: saved['meta'].pop('iter'),
    'text_as_iteration': lambda saved: saved['meta'].update(iter='many'),
    'no_schedule': lambda saved: saved.pop('param_schedulers', None),
    'list_as_schedule': lambda saved: saved.update(param_schedulers=[1]),
    'config_of_another_kind': lambda saved: saved['meta'].update(cfg=3),
    'classes_of_another_kind': lambda saved: saved['meta'].update(dataset_meta=[1]),
    'one_class': lambda saved: saved['meta'].update(dataset_meta=dict(classes='circle')),
    'hub': lambda saved: saved.update(message_hub=dict(log_scalars=3)),
    'nan': lambda saved: saved['state_dict']['bbox_head.fc_cls.weight'].fill_(float('nan')),
}


def widen(weights: dict, name: str) -> None:
    weights[name] = torch.cat([weights[name]] * 2)


@pytest.mark.parametrize('name', ['test', 'resume'])
@pytest.mark.parametrize('change', CHANGES)
def test_changed(use, checkpoint, tmp_path, name, change):
    (tmp_path / 'good.pth').write_bytes(checkpoint)
    from mmengine.runner import CheckpointLoader

    saved = copy.deepcopy(CheckpointLoader.load_checkpoint(str(tmp_path / 'good.pth'), 'cpu'))
    CHANGES[change](saved)
    torch.save(saved, tmp_path / 'changed.pth')
    use(name, (tmp_path / 'changed.pth').read_bytes())
