"""The console script: from a folder of images to a trained detector, and from pictures to files."""

import csv
import json
import sys

import numpy as np
import pytest
from helpers.tiny_detector import new_name
from helpers.web import serving
from PIL import Image

from mmdet_setdet import SetDetector, commands
from mmdet_setdet.commands import doctor, predict
from mmdet_setdet.errors import InputError
from mmdet_setdet.runtime import Detections
from mmdet_setdet.visualization.curves import find_scalars

OPTIONS = dict(train_cfg__max_iters=2, train_cfg__val_interval=2, train_dataloader__batch_size=2)


@pytest.fixture
def folder(tmp_path):
    """A YOLO folder of four images, each with one square."""
    for index in range(4):
        pixels = np.full((64, 64, 3), 60 * index, np.uint8)
        pixels[16:48, 16:48] = 255 - pixels[0, 0]
        image = tmp_path / 'data' / 'images' / f'{index}.png'
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(image)
        label = tmp_path / 'data' / 'labels' / f'{index}.txt'
        label.parent.mkdir(exist_ok=True)
        label.write_text('0 0.5 0.5 0.5 0.5\n')
    (tmp_path / 'data' / 'data.yaml').write_text('train: images\nnames: [square]\n')
    return tmp_path / 'data'


def test_a_detector_is_trained_on_a_folder_asked_and_judged(folder, tmp_path):
    work_dir = tmp_path / 'work'
    detector = SetDetector.from_config(
        'dn_detr_r18_shapes', data=folder, work_dir=work_dir, **OPTIONS
    )
    assert detector.config.model.bbox_head.num_classes == 1
    detector.train()
    config = detector.config.to_dict()
    found = detector.predict(folder / 'images' / '0.png')
    assert detector.config.to_dict() == config  # mmdet changes the config of a model that is asked
    assert found.classes == ['square']
    assert found.boxes.shape == (len(found), 4)
    assert found.boxes.min() >= 0
    assert found.boxes.max() <= 64
    assert 0 <= detector.val()['coco/bbox_mAP'] <= 1

    again = SetDetector.from_checkpoint(work_dir / 'iter_2.pth')
    np.testing.assert_allclose(again.predict(folder / 'images' / '0.png').scores, found.scores)


def test_each_training_of_a_process_keeps_its_own_curves(folder, tmp_path):
    for work_dir in (tmp_path / 'first', tmp_path / 'second'):
        options = dict(work_dir=work_dir, experiment_name=new_name(), **OPTIONS)
        SetDetector.from_config('dn_detr_r18_shapes', data=folder, **options).train()
        assert find_scalars(work_dir).is_relative_to(work_dir)


def test_the_doctor_says_and_shows_what_is_there(folder, tmp_path, capsys):
    picture = tmp_path / 'doctor.png'
    doctor.main([str(folder), '--out', str(picture)])
    text = capsys.readouterr().out
    assert 'YOLO folder' in text
    assert 'classes (1): square' in text
    assert 'train: 3 images, 3 objects' in text
    pixels = np.asarray(Image.open(picture).convert('L'))
    assert pixels.shape[1] > 1000
    # Three images in the first row, white in the rows below.
    assert pixels[:240, :900].min() < 20
    assert pixels[260:, :900].min() > 250


def test_the_doctor_finds_a_truncated_image(folder, tmp_path):
    image = folder / 'images' / '1.png'
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(InputError, match=r'1\.png'):
        doctor.main([str(folder), '--out', str(tmp_path / 'doctor.png')])


@pytest.fixture
def _stub_detector(monkeypatch):
    def detect(image, score):
        box = np.array([[1, 2, 11, 22]], np.float32)
        return Detections(box, np.array([0.75], np.float32), np.array([1]), ['bolt', 'nut'])

    monkeypatch.setattr(predict, 'Detector', lambda model, threads: detect)


@pytest.mark.usefixtures('_stub_detector')
def test_predictions_become_pictures_a_table_and_coco(folder, tmp_path):
    outputs = [
        '--out',
        tmp_path / 'out',
        '--csv',
        tmp_path / 'a.csv',
        '--json',
        tmp_path / 'a.json',
    ]
    predict.main([str(word) for word in ('model.onnx', folder / 'images', *outputs)])
    assert len(list((tmp_path / 'out').glob('*.png'))) == 4
    rows = list(csv.DictReader((tmp_path / 'a.csv').open()))
    assert rows[0] == dict(
        image='0.png', **{'class': 'nut'}, score='0.7500', x1='1.0', y1='2.0', x2='11.0', y2='22.0'
    )
    coco = json.loads((tmp_path / 'a.json').read_text())
    assert len(coco['images']) == 4
    assert coco['annotations'][3]['bbox'] == [1, 2, 10, 20]
    assert coco['annotations'][3]['category_id'] == 2


@pytest.mark.usefixtures('_stub_detector')
def test_frames_of_a_video_are_pictures(tmp_path):
    cv2 = pytest.importorskip('cv2')
    video = cv2.VideoWriter(str(tmp_path / 'a.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for _ in range(5):
        video.write(np.zeros((48, 64, 3), np.uint8))
    video.release()
    found = predict.main(
        ['model.onnx', str(tmp_path / 'a.avi'), '--every', '2', '--out', str(tmp_path / 'out')]
    )
    assert [name for name, _ in found] == ['a_000000.jpg', 'a_000002.jpg', 'a_000004.jpg']


@pytest.mark.usefixtures('_stub_detector')
def test_pictures_in_the_network_get_names_that_can_be_saved(folder, tmp_path):
    with serving(folder / 'images') as address:
        names = ['0.png', '1.png?size=3', 'a b.png', 'photo']
        (folder / 'images' / '2.png').rename(folder / 'images' / 'a b.png')
        (folder / 'images' / '3.png').rename(folder / 'images' / 'photo')
        sources = [f'{address}/{name.replace(" ", "%20")}' for name in names]
        found = predict.main(['model.onnx', *sources, '--out', str(tmp_path / 'out')])
    expected = ['0.png', '1.png', 'a b.png', 'photo.jpg']
    assert [name for name, _ in found] == expected
    assert all(Image.open(tmp_path / 'out' / name).size == (64, 64) for name in expected)


@pytest.mark.usefixtures('_stub_detector')
@pytest.mark.parametrize('source', ['absent.jpg', '*.absent'])
def test_a_source_that_does_not_exist_is_named(source):
    with pytest.raises(InputError, match='no such file, folder or pattern'):
        predict.main(['model.onnx', source])


def test_help_and_unknown_commands(capsys):
    commands.main(['--help'])
    text = capsys.readouterr().out
    assert all(name in text for name in commands.COMMANDS)
    with pytest.raises(SystemExit, match='dance is no command of setdet'):
        commands.main(['dance'])


def test_a_mistake_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['setdet'])
    with pytest.raises(SystemExit, match=r'^error: absent: no such folder$'):
        commands.main(['doctor', 'absent'])
