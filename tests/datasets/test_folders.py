"""Folders in the formats of COCO, YOLO and Pascal VOC become the same data set."""

import json

import numpy as np
import pytest
from helpers.configs import CONFIGS
from helpers.folders import CLASSES, SCENES, WRITERS, save_image, write_coco, write_yolo
from mmdet.registry import DATASETS
from mmengine.config import Config

from mmdet_setdet.datasets.folders import read_folder, use_folder
from mmdet_setdet.errors import InputError


def content(data):
    """What a folder holds, without ids: split -> image -> size and objects."""
    splits = {}
    for split, coco in data.splits.items():
        names = {category['id']: category['name'] for category in coco['categories']}
        images = {}
        for image in coco['images']:
            assert (data.folder / image['file_name']).is_file()
            notes = [note for note in coco['annotations'] if note['image_id'] == image['id']]
            objects = [
                (names[note['category_id']], np.round(note['bbox'], 9).tolist()) for note in notes
            ]
            images[image['file_name'].rpartition('/')[2]] = (
                image['width'],
                image['height'],
                objects,
            )
        splits[split] = images
    return splits


@pytest.mark.parametrize('kind', WRITERS)
def test_three_formats_of_the_same_images_are_equal(kind, tmp_path):
    WRITERS[kind](tmp_path)
    data = read_folder(tmp_path)
    assert data.kind == kind
    assert data.classes == CLASSES
    splits = content(data)
    for split, scenes in SCENES.items():
        assert len(splits[split]) == len(scenes)
        for name, width, height, objects in scenes:
            boxes = [
                (CLASSES[label], [x1, y1, x2 - x1, y2 - y1]) for label, (x1, y1, x2, y2) in objects
            ]
            assert splits[split][f'{name}.jpg'] == (width, height, boxes)


def test_a_fifth_is_set_aside_where_there_is_no_val_and_always_the_same(tmp_path):
    write_coco(tmp_path)
    (tmp_path / 'annotations' / 'instances_val2017.json').unlink()
    first, second = read_folder(tmp_path), read_folder(tmp_path)
    assert first.splits == second.splits
    assert [len(first.splits[name]['images']) for name in ('train', 'val')] == [2, 1]
    names = [image['file_name'] for split in first.splits.values() for image in split['images']]
    assert len(set(names)) == 3


def break_yolo_line(folder, text):
    (folder / 'labels' / 'train' / 'b.txt').write_text(text)


MISTAKES = {
    'YOLO class': (
        'YOLO',
        lambda f: break_yolo_line(f, '2 .5 .5 1 1'),
        r'b\.txt, line 1: class 2 is not',
    ),
    'YOLO pixels': ('YOLO', lambda f: break_yolo_line(f, '1 24 32 48 64'), 'shares of the image'),
    'YOLO words': ('YOLO', lambda f: break_yolo_line(f, '1 a b c d'), 'must be numbers'),
    'YOLO five numbers': ('YOLO', lambda f: break_yolo_line(f, '1 0 0 1 1 1'), 'got 5 numbers'),
    'YOLO names': (
        'YOLO',
        lambda f: (f / 'data.yaml').write_text('train: images'),
        'must have names',
    ),
    'YOLO path': (
        'YOLO',
        lambda f: (f / 'data.yaml').write_text('train: img\nnames: [a]'),
        'train: img does not exist',
    ),
    'VOC XML': (
        'VOC',
        lambda f: (f / 'Annotations' / 'a.xml').write_text('<annotation>'),
        'not XML',
    ),
    'VOC image': (
        'VOC',
        lambda f: (f / 'JPEGImages' / 'b.jpg').unlink(),
        r'b\.xml: its image b\.jpg is nowhere',
    ),
    'COCO image': (
        'COCO',
        lambda f: (f / 'train2017' / 'a.jpg').unlink(),
        'its image a.jpg is nowhere',
    ),
    'COCO JSON': (
        'COCO',
        lambda f: (f / 'annotations' / 'instances_val2017.json').write_text('{"images": ['),
        'not JSON',
    ),
    'COCO twice': (
        'COCO',
        lambda f: (f / 'annotations' / 'instances_valid.json').write_text(
            (f / 'annotations' / 'instances_val2017.json').read_text()
        ),
        'both are val',
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_mistake_is_one_clear_sentence(mistake, tmp_path):
    kind, spoil, message = MISTAKES[mistake]
    WRITERS[kind](tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        read_folder(tmp_path)
    assert '\n' not in str(caught.value)


def test_a_folder_without_annotations_says_what_was_looked_for(tmp_path):
    save_image(tmp_path / 'a.jpg', 8, 8)
    with pytest.raises(InputError, match='YOLO.*COCO.*VOC'):
        read_folder(tmp_path)


@pytest.mark.parametrize('name', ['dn_detr_r50_50e.py', 'ota_r50_fpn_1x.py'])
def test_a_config_gets_data_and_classes_from_a_folder(name, tmp_path):
    write_yolo(tmp_path)
    cfg = Config.fromfile(CONFIGS / name)
    pipeline = cfg.train_dataloader.dataset.pipeline
    use_folder(cfg, read_folder(tmp_path), tmp_path / 'out')
    assert cfg.model.bbox_head.num_classes == 2
    assert cfg.train_dataloader.dataset.pipeline == pipeline
    assert (
        json.loads((tmp_path / 'out' / 'train.json').read_text())['categories'][1]['name'] == 'nut'
    )
    assert cfg.val_evaluator.ann_file == cfg.val_dataloader.dataset.ann_file


def test_mosaics_are_made_of_the_images_of_the_folder(tmp_path):
    write_yolo(tmp_path)
    cfg = Config.fromfile(CONFIGS / 'yolox_s_ota.py')
    use_folder(cfg, read_folder(tmp_path), tmp_path / 'out')
    mixed = DATASETS.build(cfg.train_dataloader.dataset)
    assert mixed.metainfo['classes'] == tuple(CLASSES)
    assert mixed[0]['inputs'].shape[0] == 3
    assert cfg.val_evaluator.ann_file == cfg.val_dataloader.dataset.ann_file


def test_a_config_that_only_trains_gets_no_evaluation(tmp_path):
    write_yolo(tmp_path)
    cfg = Config.fromfile(CONFIGS / 'dn_detr_r50_50e.py')
    for name in ('dataloader', 'evaluator'):
        cfg[f'val_{name}'] = cfg[f'test_{name}'] = None
    use_folder(cfg, read_folder(tmp_path), tmp_path / 'out')
    assert cfg.train_dataloader.dataset.ann_file.endswith('train.json')
    assert cfg.val_evaluator is None
