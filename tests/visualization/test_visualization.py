"""Pictures of predictions and of curves: written, of the right size, with the right things in the right places."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmdet_setdet.errors import InputError
from mmdet_setdet.visualization import (
    draw_predictions,
    plot_curves,
    plot_validations,
    read_scalars,
)

META = dict(classes=('a', 'b'), palette=[(255, 0, 0), (0, 0, 255)])


def sample(box, score):
    result = DetDataSample()
    result.gt_instances = InstanceData(
        bboxes=torch.tensor([[10.0, 10.0, 30.0, 30.0]]), labels=torch.tensor([0])
    )
    result.pred_instances = InstanceData(
        bboxes=torch.tensor([box]), labels=torch.tensor([1]), scores=torch.tensor([score])
    )
    return result


def test_sheet_shows_truth_left_and_confident_predictions_right(tmp_path):
    grey = np.full((64, 64, 3), 128, np.uint8)
    box = [20.0, 30.0, 50.0, 60.0]
    sheet = draw_predictions(
        [grey, grey],
        [sample(box, 0.9), sample(box, 0.1)],
        META,
        tmp_path / 'new' / 'sheet.png',
        columns=1,
        side=256,
    )
    written = cv2.imread(str(tmp_path / 'new' / 'sheet.png'))[..., ::-1]
    np.testing.assert_array_equal(written, sheet)
    assert sheet.shape[0] > 2 * 256
    assert sheet.shape[1] >= 2 * 256
    top, bottom = sheet[28:284], sheet[290:546]
    truth, prediction = top[:, :256].astype(int), top[:, 258:514].astype(int)
    # Images are enlarged four times: right edge of the true box at x = 120, of the predicted one at x = 200.
    assert truth[80, 120, 0] > truth[80, 120, 2] + 60, 'ground truth is red'
    assert prediction[180, 200, 2] > prediction[180, 200, 0] + 60, 'the prediction is blue'
    assert np.abs(prediction[80, 120] - 128).max() < 10, 'no ground truth on the right'
    assert np.abs(bottom[:, 258:514].astype(int) - 128).max() < 10, (
        'predictions below the threshold are left out'
    )


def test_sheet_takes_images_of_any_shape_and_without_objects(tmp_path):
    empty = DetDataSample()
    empty.gt_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
    )
    empty.pred_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long), scores=torch.zeros(0)
    )
    images = [
        np.zeros((40, 80, 3), np.uint8),
        np.zeros((900, 300, 3), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
    ]
    sheet = draw_predictions(images, [empty] * 3, META, tmp_path / 'sheet.png', columns=2, side=100)
    assert (sheet[28:78, :100] == 0).all()
    assert (sheet[79:128, :100] == 255).all()
    with pytest.raises(ValueError, match='one sample per image'):
        draw_predictions(images, [empty], META, tmp_path / 'sheet.png')


def write_run(work_dir, name, records):
    file = work_dir / name / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text('\n'.join(json.dumps(record) for record in records))
    return file


def test_newest_run_counts_and_epochs_become_iterations(tmp_path):
    write_run(tmp_path, '20260101_000000', [dict(loss=9.0, iter=1, step=1)])
    records = []
    for epoch in (1, 2):
        records += [
            dict(loss=1.0 / i, iter=i, epoch=epoch, step=i) for i in (epoch * 10 - 5, epoch * 10)
        ]
        records.append({'coco/bbox_mAP': epoch / 10, 'step': epoch})
    newest = write_run(tmp_path, '20260102_000000', records)
    for path in (tmp_path, newest):
        train, val = read_scalars(path)
        assert train[0].tolist() == [5, 10, 15, 20]
        assert train[1][0] == 0.2
        assert val[0].tolist() == [10, 20]
        assert val[1].tolist() == [0.1, 0.2]


def test_iteration_based_validation_keeps_its_step(tmp_path):
    file = write_run(
        tmp_path, 'a', [dict(loss=1.0, iter=30, step=30), {'coco/bbox_mAP': 0.5, 'step': 40}]
    )
    assert read_scalars(file)[1][0].tolist() == [40]


def test_curves_against_minutes_count_training_steps(tmp_path):
    records = [
        dict(loss=2.0, time=6.0, iter=10, step=10),
        {'coco/bbox_mAP': 0.1, 'time': 100.0, 'step': 10},
        dict(loss=1.0, time=3.0, iter=30, step=30),
        {'coco/bbox_mAP': 0.2, 'time': 100.0, 'step': 30},
    ]
    file = write_run(tmp_path, 'run', records)
    train, val = read_scalars(file, x_axis='minutes')
    assert train[0].tolist() == val[0].tolist() == [1.0, 2.0]
    assert val[1].tolist() == [0.1, 0.2]
    with pytest.raises(InputError, match='hours'):
        read_scalars(file, x_axis='hours')
    for x_axis in ('minutes', 'iterations'):
        plot_curves({'run': file}, tmp_path / f'{x_axis}.png', x_axis=x_axis)
    minutes, iterations = (
        cv2.imread(str(tmp_path / f'{name}.png')) for name in ('minutes', 'iterations')
    )
    assert np.any(minutes != iterations)


def test_long_labels_stay_inside_the_picture(tmp_path):
    file = write_run(tmp_path, 'run', [dict(loss=1.0 / i, iter=i, step=i) for i in range(1, 20)])
    pictures = []
    for words in ('many', 'too many'):
        runs = {f'a detector with {words} words in its name, {seed}': file for seed in range(3)}
        plot_curves(runs, tmp_path / 'curves.png')
        pictures.append(cv2.imread(str(tmp_path / 'curves.png')))
    for picture in pictures:
        assert (picture[:, [0, -1]] == 255).all()
    assert np.any(pictures[0] != pictures[1])


def test_curves_of_several_seeds_are_drawn(tmp_path):
    val = [{'coco/bbox_mAP': 0.1 * k, 'step': 5 * k} for k in range(1, 4)]
    files = [
        write_run(
            tmp_path / str(seed),
            'run',
            [dict(loss=5.0 / i + seed, iter=i, step=i) for i in range(1, 20)] + val,
        )
        for seed in range(3)
    ]
    plot_curves({'one': files[0]}, tmp_path / 'one.png')
    plot_curves({'three': files, 'one': files[0].parent.parent}, tmp_path / 'pictures' / 'all.png')
    one, many = (
        cv2.imread(str(tmp_path / 'one.png')),
        cv2.imread(str(tmp_path / 'pictures' / 'all.png')),
    )
    assert one.shape == many.shape
    assert min(one.shape[:2]) > 400
    assert np.any(one != many)
    assert one.std() > 5
    plot_curves({'no validation': files[0]}, tmp_path / 'half.png', val_key='none')
    assert cv2.imread(str(tmp_path / 'half.png')).shape[1] < 0.6 * one.shape[1]


def test_curves_need_scalars(tmp_path):
    with pytest.raises(InputError, match='scalars.json'):
        plot_curves({'none': tmp_path}, tmp_path / 'curves.png')
    (tmp_path / 'wrong.json').write_text('{"step": 1}\nno json')
    with pytest.raises(InputError, match='line 2'):
        read_scalars(tmp_path / 'wrong.json')


def test_comparisons_are_drawn_side_by_side(tmp_path):
    val = [{'coco/bbox_mAP': 0.1 * k, 'step': 5 * k} for k in range(1, 4)]
    runs = [write_run(tmp_path / str(seed), 'run', val) for seed in range(2)]
    plot_validations({'one': {'with': runs}}, tmp_path / 'one.png')
    comparisons = {'one': {'with': runs}, 'two': {'with': runs[:1], 'without': runs}}
    plot_validations(comparisons, tmp_path / 'pictures' / 'two.png')
    one = cv2.imread(str(tmp_path / 'one.png'))
    two = cv2.imread(str(tmp_path / 'pictures' / 'two.png'))
    assert two.shape[1] == 2 * one.shape[1]
    assert one.std() > 5
    with pytest.raises(InputError, match='scalars.json'):
        plot_validations({'none': {'with': [tmp_path / 'none']}}, tmp_path / 'curves.png')
