"""Our COCO metric: mmdet's figures, by faster-coco-eval, and a report of the classes."""

import csv
import json

import pytest
import torch
from benchmarks.evaluation import figures, scenes
from benchmarks.timing import max_abs_diff
from mmdet.evaluation import CocoMetric as OfMMDet
from PIL import Image
from pycocotools.cocoeval import COCOeval

from mmdet_setdet.evaluation import CocoMetric
from mmdet_setdet.evaluation.coco_metric import FastCOCOeval
from mmdet_setdet.evaluation.coco_report import confusion

CLASSES = ('bolt', 'nut', 'absent')


@pytest.mark.parametrize(('num_results', 'num_classes'), [(20, 5), (150, 1)])
def test_the_figures_are_those_of_pycocotools(num_results, num_classes):
    pytest.importorskip('faster_coco_eval', reason='needs faster-coco-eval')
    gts, results = scenes(200, num_results, num_classes)
    ours, theirs = (figures(one, gts, results) for one in (FastCOCOeval, COCOeval))
    assert 0.2 < theirs[0][0] < 0.9
    assert max_abs_diff(ours, theirs) < 1e-6


def write_gts(folder):
    """Two images: two bolts and a nut, and a bolt beside a crowd of nuts."""
    gts = [(1, 1, (0, 0, 20, 20)), (1, 1, (40, 0, 20, 20)), (1, 2, (0, 40, 50, 50))]
    gts += [(2, 1, (0, 0, 20, 20)), (2, 2, (40, 40, 50, 50))]
    annotations = []
    for id_, (image, category, box) in enumerate(gts, 1):
        note = dict(id=id_, image_id=image, category_id=category, bbox=list(box))
        annotations.append(dict(note, area=box[2] * box[3], iscrowd=int(id_ == 5)))
    images = [dict(id=id_, width=100, height=100, file_name=f'{id_}.jpg') for id_ in (1, 2)]
    categories = [dict(id=id_, name=name) for id_, name in enumerate(CLASSES, 1)]
    file = folder / 'gts.json'
    content = dict(images=images, annotations=annotations, categories=categories)
    file.write_text(json.dumps(content))
    return str(file)


# Label, score and corners: a bolt, a bolt taken for a nut, no nut found; a bolt below the least score, one in the
# crowd, one where nothing is.
RESULTS = {
    1: [(0, 0.9, (0, 0, 20, 20)), (1, 0.8, (40, 0, 60, 20))],
    2: [(0, 0.1, (0, 0, 20, 20)), (1, 0.7, (42, 42, 60, 60)), (0, 0.6, (0, 60, 20, 80))],
}


def evaluate(metric, results=RESULTS):
    metric.dataset_meta = dict(classes=CLASSES)
    for image_id, found in results.items():
        labels, scores, boxes = (torch.tensor(column) for column in zip(*found))
        found = dict(labels=labels, scores=scores, bboxes=boxes.float())
        metric.process({}, [dict(img_id=image_id, ori_shape=(100, 100), pred_instances=found)])
    return metric.evaluate(2)


def test_the_metric_is_mmdets(tmp_path):
    file = write_gts(tmp_path)
    ours = evaluate(CocoMetric(ann_file=file, classwise=True))
    theirs = evaluate(OfMMDet(ann_file=file, classwise=True))
    assert ours == pytest.approx(theirs, nan_ok=True)
    assert 0 < ours['coco/bbox_mAP'] < 1


def test_the_report_tells_of_each_class(tmp_path):
    evaluate(CocoMetric(ann_file=write_gts(tmp_path), report=str(tmp_path / 'report')))
    table = list(csv.DictReader((tmp_path / 'report' / 'bbox_classes.csv').open()))
    assert [row['class'] for row in table] == list(CLASSES)
    assert [row['objects'] for row in table] == ['3', '1', '0']
    # Of three bolts one is found first and one last, after a wrong one: 34 of 101 recalls at 1, 33 at 2 / 3.
    assert float(table[0]['AP50']) == pytest.approx((34 + 33 * 2 / 3) / 101, abs=1e-4)
    assert float(table[1]['AP']) == 0
    assert table[2]['AP'] == ''
    for name in ('precision_recall', 'confusion'):
        picture = Image.open(tmp_path / 'report' / f'bbox_{name}.png')
        assert len(picture.convert('RGB').getcolors(1 << 20)) > 20


def test_the_columns_of_the_report_tell_ious_and_sizes_apart(tmp_path):
    """The bolts, small, with IoU 1, and the nut, of medium size, with IoU 0.72."""
    bolts = [(0, 0.9, (0, 0, 20, 20)), (0, 0.8, (40, 0, 60, 20))]
    results = {1: [*bolts, (1, 0.9, (0, 40, 50, 76))], 2: bolts[:1]}
    metric = CocoMetric(ann_file=write_gts(tmp_path), report=str(tmp_path / 'report'))
    evaluate(metric, results)
    bolt, nut, _ = csv.DictReader((tmp_path / 'report' / 'bbox_classes.csv').open())
    columns = ('AP', 'AP50', 'AP75', 'AP_s', 'AP_m', 'AP_l', 'AR')
    assert [bolt[column] for column in columns] == ['1.0', '1.0', '1.0', '1.0', '', '', '1.0']
    assert [nut[column] for column in columns] == ['0.5', '1.0', '0.0', '', '0.5', '', '0.5']


def test_confusion_matches_whatever_the_classes(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        'mmdet_setdet.evaluation.coco_metric.write_report',
        lambda evaluation, folder: seen.append(confusion(evaluation)),
    )
    evaluate(CocoMetric(ann_file=write_gts(tmp_path), report=str(tmp_path)))
    assert seen[0].tolist() == [
        [1, 1, 0, 1],  # bolts: found, taken for a nut, missed
        [0, 0, 0, 1],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
    ]
