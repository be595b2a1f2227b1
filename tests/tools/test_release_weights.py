"""What a training has left becomes weights that are found by name, with a model card."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_detector import tool
from mmengine.config import Config
from PIL import Image

from mmdet_setdet import SetDetector
from mmdet_setdet.checkpoints.named import VARIABLE, digest
from mmdet_setdet.commands import predict
from mmdet_setdet.errors import InputError

weights = tool('release/weights')
NAME = 'dn_detr_r18_shapes'
MACHINE = ['--machine', 'a small one']


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A detector after two steps; its work_dir is what a training leaves."""
    options = dict(train_cfg__max_iters=2, train_cfg__val_interval=2)
    for loader in ('train_dataloader', 'val_dataloader'):
        options |= {f'{loader}__batch_size': 2, f'{loader}__dataset__num_images': 4}
    folder = tmp_path_factory.mktemp('trained')
    options |= dict(randomness__seed=3, val_evaluator__classwise=True)
    return SetDetector.from_config(NAME, work_dir=folder, **options).train()


@pytest.fixture(scope='module')
def published(trained, tmp_path_factory):
    """The file of its weights."""
    out = tmp_path_factory.mktemp('dist')
    [file] = weights.main([trained.config.work_dir, '--out', str(out), *MACHINE])
    return file


def test_weights_alone_are_named_by_their_content(published, trained):
    assert published.name == f'{NAME}-{digest(published.read_bytes())}.pth'
    content = torch.load(published, weights_only=True)
    assert content.keys() == {'meta', 'state_dict'}
    last = torch.load(f'{trained.config.work_dir}/iter_2.pth', weights_only=False)
    assert content['state_dict'].keys() == last['state_dict'].keys()
    for name, weight in content['state_dict'].items():
        torch.testing.assert_close(weight, last['state_dict'][name], rtol=0, atol=0)
    assert str(trained.config.work_dir) not in str(content['meta'])
    folder = published.parent
    assert {file.suffix for file in folder.iterdir()} == {'.pth', '.md', '.py', '.json'}
    assert Config.fromfile(published.with_suffix('.py')).randomness.seed == 3


def test_the_card_tells_what_was_done_and_reached(published):
    card = published.with_suffix('.md').read_text()
    for row in (
        f'| SHA-256 | `{hashlib.sha256(published.read_bytes()).hexdigest()}` |',
        f'| command | `setdet train {published.stem}.py` |',
        '| first weights | random |',
        '| seed | 3 |',
        '| steps | 2, of 2 images |',
        '| trained on | ShapesDataset, num_images 4, image_size 128, seed 0 |',
        '| machine | a small one |',
        '| coco/bbox_mAP | 0.',
        '| coco/star_precision | 0.',
    ):
        assert row in card
    assert f'PyTorch {torch.__version__}' in card
    assert '| training time | 0:0' in card
    assert '-1.0' not in card  # of large objects, which there are none of
    assert '$' not in card


def test_it_is_found_by_name(published, trained, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(published.parent))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    picture = tmp_path / 'a.png'
    Image.fromarray(pixels).save(picture)
    [(_, found)] = predict.main([NAME, str(picture), '--no-pictures', '--score', '0'])
    checkpoint = f'{trained.config.work_dir}/iter_2.pth'
    expected = SetDetector.from_config(NAME, checkpoint=checkpoint).predict(pixels)
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    again = SetDetector.from_checkpoint(NAME)
    np.testing.assert_array_equal(again.predict(pixels).scores, expected.scores)
    assert again.classes == trained.classes


def test_the_same_again_is_the_same_file(published, trained):
    before = published.read_bytes()
    words = [trained.config.work_dir, '--out', str(published.parent), *MACHINE]
    assert weights.main(words) == [published]
    assert published.read_bytes() == before


def test_other_weights_of_the_config_are_not_put_beside(trained, tmp_path):
    other = tmp_path / f'{NAME}-01234567.pth'
    other.touch()
    with pytest.raises(InputError, match=f'already has {other.name}; delete'):
        weights.main([trained.config.work_dir, '--out', str(tmp_path), *MACHINE])


def test_a_folder_that_no_training_has_left_is_refused(tmp_path):
    with pytest.raises(
        InputError, match='has 0 configs, and no last_checkpoint; give the work_dir'
    ):
        weights.main([str(tmp_path), *MACHINE])


def test_a_training_that_has_not_ended_is_refused():
    weights.check_end('work', dict(max_epochs=12), dict(iter=96, epoch=12))
    with pytest.raises(InputError, match='work: ends with epoch 11 of 12'):
        weights.check_end('work', dict(max_epochs=12), dict(iter=88, epoch=11))
    with pytest.raises(InputError, match='work: ends with iter 88 of 96'):
        weights.check_end('work', dict(max_iters=96), dict(iter=88, epoch=0))


def test_the_card_names_the_weights_that_a_training_started_from(trained):
    training = weights.read_training(Path(trained.config.work_dir))
    training.config.load_from = 'detr.pth'
    pretrained = dict(type='Pretrained', checkpoint='resnet.pth')
    training.config.model.neck.init_cfg = [dict(type='Xavier'), pretrained]
    card = weights.model_card(training, b'', 'none')
    assert '| first weights | detr.pth, resnet.pth |' in card
    assert '| licence | Apache-2.0; that of the first weights beside it |' in card


def test_the_machine_is_asked_for(trained):
    with pytest.raises(SystemExit):
        weights.main([trained.config.work_dir, '--machine', ''])
