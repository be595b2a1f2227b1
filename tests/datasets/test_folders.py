"""Folders in the formats of COCO, YOLO and Pascal VOC become the same data set."""

import json

import numpy as np
import pytest
from helpers.configs import CONFIGS
from mmengine.config import Config
from PIL import Image

from mmdet_setdet.datasets.folders import read_folder, use_folder
from mmdet_setdet.errors import InputError

CLASSES = ['bolt', 'nut']
# Name of the image, its width and height, and its objects: class and box in pixels.
SCENES = {
    'train': [
        ('a', 64, 48, [(0, (4, 8, 20, 24)), (1, (32, 12, 60, 40))]),
        ('b', 48, 64, [(1, (0, 0, 48, 64))]),
        ('c', 32, 32, []),
    ],
    'val': [('d', 64, 64, [(0, (16, 16, 32, 48))])],
}


def save_image(path, width, height):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)


def write_coco(folder):
    for split, scenes in SCENES.items():
        images, annotations = [], []
        for image_id, (name, width, height, objects) in enumerate(scenes, 7):
            save_image(folder / f'{split}2017' / f'{name}.jpg', width, height)
            images.append(dict(id=image_id, file_name=f'{name}.jpg', width=width, height=height))
            for label, (x1, y1, x2, y2) in objects:
                note = dict(
                    id=len(annotations), image_id=image_id, category_id=label + 1, iscrowd=0
                )
                box = [x1, y1, x2 - x1, y2 - y1]
                annotations.append(dict(note, bbox=box, area=box[2] * box[3]))
        categories = [dict(id=index, name=name) for index, name in enumerate(CLASSES, 1)]
        content = dict(images=images, annotations=annotations, categories=categories)
        file = folder / 'annotations' / f'instances_{split}2017.json'
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))


def write_yolo(folder):
    for split, scenes in SCENES.items():
        for name, width, height, objects in scenes:
            save_image(folder / 'images' / split / f'{name}.jpg', width, height)
            lines = []
            for label, (x1, y1, x2, y2) in objects:
                centre = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
                size = (x2 - x1) / width, (y2 - y1) / height
                lines.append(' '.join(map(str, (label, *centre, *size))))
            file = folder / 'labels' / split / f'{name}.txt'
            file.parent.mkdir(parents=True, exist_ok=True)
            if lines:
                file.write_text('\n'.join(lines))
    (folder / 'data.yaml').write_text(
        f'path: ../elsewhere\ntrain: images/train\nval: images/val\nnames: {CLASSES}\n'
    )


def write_voc(folder):
    for split, scenes in SCENES.items():
        for name, width, height, objects in scenes:
            save_image(folder / 'JPEGImages' / f'{name}.jpg', width, height)
            nodes = ''
            for label, box in objects:
                sides = zip(('xmin', 'ymin', 'xmax', 'ymax'), box)
                corners = ''.join(f'<{side}>{value + 1}</{side}>' for side, value in sides)
                nodes += f'<object><name>{CLASSES[label]}</name><bndbox>{corners}</bndbox></object>'
            file = folder / 'Annotations' / f'{name}.xml'
            file.parent.mkdir(exist_ok=True)
            file.write_text(f'<annotation><filename>{name}.jpg</filename>{nodes}</annotation>')
        names = folder / 'ImageSets' / 'Main' / f'{split}.txt'
        names.parent.mkdir(parents=True, exist_ok=True)
        names.write_text('\n'.join(name for name, *_ in scenes))


WRITERS = dict(COCO=write_coco, YOLO=write_yolo, VOC=write_voc)


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
