"""Panoptic quality equals panopticapi's, on random and on real maps; the data and the tools around it."""

import json

import numpy as np
import pytest
import torch
from golden import panoptic_cases
from helpers.configs import CONFIGS, MASK_CHANNELS, SMALL
from helpers.panoptic import real_maps
from helpers.tiny_detector import tool
from helpers.tiny_panoptic import SIZE, write_panoptic
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import DATASETS, METRICS, TRANSFORMS
from mmengine.config import Config

from mmdet_setdet.checks import check_dataset, checked_data_sets
from mmdet_setdet.engine.models import build_model
from mmdet_setdet.errors import InputError
from mmdet_setdet.evaluation import PanopticQuality, quality_counts


@pytest.mark.parametrize('seed', panoptic_cases.QUALITY_SEEDS)
def test_equals_panopticapi_on_random_maps(seed):
    expected = panoptic_cases.load()[f'quality {seed}']
    actual = quality_counts(*panoptic_cases.random_maps(seed), panoptic_cases.NUM_CATEGORIES)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_equals_panopticapi_on_real_maps(coco128):
    expected = panoptic_cases.load()['quality of real maps']
    assert expected[:, 1].sum() > 100, 'true positives'
    actual = sum(quality_counts(*maps, 133) for maps in real_maps(coco128))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_averages_are_over_categories_that_occur():
    counts = np.array([[1.6, 2, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1], [0.9, 1, 0, 0]])
    quality = PanopticQuality(counts, np.array([True, True, False, False]))
    results = quality.results()
    assert results['All']['n'] == 3
    assert results['All']['pq'] == pytest.approx((1.6 / 3 + 0 + 0.9) / 3)
    assert results['Things'] == pytest.approx(dict(pq=1.6 / 3, sq=0.8, rq=2 / 3, n=1))
    assert results['Stuff']['n'] == 2
    nothing = PanopticQuality(np.zeros((2, 4)), np.array([True, True])).results()
    assert np.isnan(nothing['All']['pq'])


@pytest.fixture
def coco(tmp_path):
    return write_panoptic(tmp_path)


def dataset(root, pipeline=(), **changes):
    cfg = dict(
        type='CocoPanopticDataset',
        data_root=str(root),
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'),
        pipeline=list(pipeline),
    )
    with checked_data_sets():
        return DATASETS.build({**cfg, **changes})


def metric(root, **changes):
    annotations = root / 'annotations'
    cfg = dict(
        type='mmdet_setdet.CocoPanopticMetric',
        ann_file=str(annotations / 'panoptic_val2017.json'),
        seg_prefix=str(annotations / 'panoptic_val2017'),
    )
    return METRICS.build({**cfg, **changes})


LOAD = dict(type='mmdet_setdet.LoadPanopticAnnotations')


def test_every_segment_becomes_an_object(coco):
    loaded = dataset(coco, [dict(type='LoadImageFromFile'), LOAD])[1]
    assert loaded['gt_bboxes_labels'].tolist() == [119, 0, 0, 0], 'sky-other-merged and persons'
    assert loaded['gt_masks'].masks.sum((1, 2)).tolist() == [3030, 600, 570, 200]
    assert loaded['gt_bboxes'].tensor[1:3].tolist() == [[10, 20, 30, 50], [41, 20, 60, 50]]
    without_map = dict(img_id=3, seg_map_path=None)
    assert TRANSFORMS.build(LOAD)(dict(without_map)) == without_map


def test_perfect_and_wrong_maps(coco):
    evaluator = metric(coco, classwise=True)
    evaluator.dataset_meta = dataset(coco).metainfo
    for image in range(2):
        segments = torch.full((1, *SIZE), 119)
        segments[:, 20:50, 10:30] = INSTANCE_OFFSET
        segments[:, 55:] = 133
        sample = dict(img_id=image, pred_panoptic_seg=dict(sem_seg=segments))
        evaluator.process({}, [sample])
    result = evaluator.evaluate(2)
    # The second person is missed, of which there are two; the sky covers her and the crowd, too.
    sky = (60 * 80 - 5 * 80 - 600 - 600 - 200) / (60 * 80 - 5 * 80 - 600)
    assert result['coco_panoptic/PQ_th'] == pytest.approx(100 * 2 / 3)
    assert result['coco_panoptic/PQ_st'] == pytest.approx(100 * sky, rel=1e-2)
    assert result['coco_panoptic/RQ_st'] == 100


def test_tools_test_evaluates_pq(coco, tmp_path, monkeypatch):
    monkeypatch.setenv('SETDET_COCO', str(coco))
    cfg = Config.fromfile(CONFIGS / 'detr_r50_panoptic.py')
    cfg.merge_from_dict({**SMALL, 'model.mask_head.in_channels': MASK_CHANNELS})
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.pipeline[1].scale = (128, 96)
    cfg.dump(tmp_path / 'small.py')
    checkpoint = dict(state_dict=build_model(cfg.model).state_dict())
    torch.save(checkpoint, tmp_path / 'weights.pth')
    arguments = [str(tmp_path / 'small.py'), str(tmp_path / 'weights.pth'), '--eval', 'PQ']
    folders = ['--work-dir', str(tmp_path / 'work'), '--show-dir', str(tmp_path / 'pictures')]
    result = tool('test').main([*arguments, *folders])
    assert result['coco_panoptic/PQ'] == 0
    assert len(list((tmp_path / 'pictures').glob('*.jpg'))) == 2


def test_errors_name_what_is_missing(coco):
    annotations = coco / 'annotations'
    with pytest.raises(InputError, match='no such annotation file'):
        metric(coco, ann_file=str(annotations / 'absent.json'))
    with pytest.raises(InputError, match=r'no such panoptic PNG; check seg_prefix'):
        metric(coco, seg_prefix=str(coco / 'absent'))._ground_truth(0)
    with pytest.raises(InputError, match='has no image 7'):
        metric(coco)._ground_truth(7)
    with pytest.raises(InputError, match='predicts no panoptic map'):
        metric(coco).process({}, [dict(img_id=0)])

    prefix = dict(img='val2017/', seg='annotations/absent/')
    with pytest.raises(InputError, match='no such folder of panoptic PNGs'):
        check_dataset(dataset(coco, data_prefix=prefix))

    (annotations / 'panoptic_val2017/0.png').unlink()
    broken = dataset(coco, [dict(type='LoadImageFromFile'), LOAD])
    check_dataset(broken)
    with pytest.raises(InputError, match='0.png: no such label map file'):
        broken[0]


def change(root, edit):
    path = root / 'annotations/panoptic_val2017.json'
    content = json.loads(path.read_text())
    edit(content['annotations'][0]['segments_info'][1])
    path.write_text(json.dumps(content))


def test_segments_that_do_not_fit_are_named(coco):
    change(coco, lambda segment: segment.update(id=12345))
    broken = dataset(coco, [dict(type='LoadImageFromFile'), LOAD])
    check_dataset(broken)
    with pytest.raises(InputError, match='0.png: has no pixel of segment 12345'):
        broken[0]
    change(coco, lambda segment: segment.update(category_id=12))
    with pytest.raises(InputError, match='of image 0 has category_id 12'):
        dataset(coco)
    change(coco, lambda segment: segment.pop('area'))
    with pytest.raises(InputError, match='has no "area"'):
        dataset(coco)
