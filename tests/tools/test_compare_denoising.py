"""The comparison with and without denoising: what is trained, what is printed, what is drawn."""

import json

import cv2
import pytest
from helpers.configs import CONFIGS
from helpers.tiny_detector import tool

from mmdet_setdet.errors import InputError

CONFIG = str(CONFIGS / 'quickstart/dn_faster_rcnn_r18_shapes.py')
COMPARE = tool('analysis_tools/compare_denoising')


def finish_run(work_dir, values):
    """Write what a finished training leaves, with the mAP of each validation."""
    folder = work_dir / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    records = [{'coco/bbox_mAP': value, 'step': 100 * i} for i, value in enumerate(values, 1)]
    (folder / 'scalars.json').write_text('\n'.join(json.dumps(record) for record in records))
    (work_dir / 'done').touch()


@pytest.fixture
def trained(monkeypatch):
    """Calls of the training tool, which ends at once: with denoising at 0.3 + 0.1 seed, without at 0.2."""
    calls = []

    def train(command, **kwargs):
        work_dir = command[command.index('--work-dir') + 1]
        options = command[command.index('--cfg-options') + 1 :]
        calls.append(options)
        seed = int(options[0].split('=')[1])
        with_denoising = 'model.roi_head.denoising=None' not in options
        finish_run(work_dir, [0.1, 0.3 + 0.1 * seed if with_denoising else 0.2])
        return type('Result', (), dict(returncode=0))

    monkeypatch.setattr(COMPARE.subprocess, 'run', train)
    return calls


def test_each_seed_is_trained_with_and_without(trained, tmp_path, capsys):
    arguments = [CONFIG, '--seeds', '0', '1', '--work-dir', str(tmp_path)]
    COMPARE.main([*arguments, '--cfg-options', 'train_cfg.max_iters=9'])
    off = 'model.roi_head.denoising=None'
    seeds, more = ['randomness.seed=0', 'randomness.seed=1'], 'train_cfg.max_iters=9'
    assert trained == [[seed, off, more] for seed in seeds] + [[seed, more] for seed in seeds]
    printed = capsys.readouterr().out.splitlines()
    row = '| dn_faster_rcnn_r18_shapes | bbox_mAP | 0.200 ± 0.000 | 0.350 ± 0.050 | +0.150 |'
    assert row in printed
    assert not [line for line in printed if 'segm_mAP' in line], 'was not measured'
    assert cv2.imread(str(tmp_path / 'curves.png')).std() > 5


def test_finished_runs_are_not_repeated(trained, tmp_path):
    arguments = [CONFIG, '--work-dir', str(tmp_path), '--seeds']
    COMPARE.main([*arguments, '0'])
    COMPARE.main([*arguments, '0', '1'])
    assert [options[0] for options in trained] == ['randomness.seed=0'] * 2 + [
        'randomness.seed=1'
    ] * 2


@pytest.mark.parametrize(
    ('name', 'option'),
    [
        ('dn_anchor_detr_r18_shapes', 'model.denoising'),
        ('dn_mask_rcnn_r18_shapes', 'model.roi_head.denoising'),
        ('dn_mask2former_r18_shapes', 'model.panoptic_head.denoising'),
    ],
)
def test_the_option_is_found(name, option):
    assert COMPARE.denoising_option(str(CONFIGS / f'quickstart/{name}.py')) == option


def test_a_config_without_denoising_is_an_error():
    with pytest.raises(InputError, match='detr_r18_shapes.py: neither model nor its roi_head'):
        COMPARE.denoising_option(str(CONFIGS / 'quickstart/detr_r18_shapes.py'))
