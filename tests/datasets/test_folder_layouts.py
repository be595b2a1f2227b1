"""Folders as people have them: other layouts, names and habits than the textbook's."""

import json

import pytest
from helpers.folders import WRITERS, save_image, write_voc, write_yolo

from mmdet_setdet.datasets.folders import read_folder
from mmdet_setdet.errors import InputError

BOX = '<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>'


def sizes(data):
    """Split -> file name -> width, height and number of objects."""
    found = {}
    for split, coco in data.splits.items():
        found[split] = {}
        for image in coco['images']:
            count = sum(note['image_id'] == image['id'] for note in coco['annotations'])
            found[split][image['file_name']] = image['width'], image['height'], count
    return found


def write_label(file, text='0 .5 .5 1 1\n'):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def write_xml(file, filename, name='bolt'):
    file.parent.mkdir(parents=True, exist_ok=True)
    thing = f'<object><name>{name}</name>{BOX}</object>'
    file.write_text(f'<annotation><filename>{filename}</filename>{thing}</annotation>')


def write_json(file, *names):
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [
        dict(id=index, file_name=str(name), width=8, height=8) for index, name in enumerate(names)
    ]
    note = dict(id=1, image_id=0, category_id=1, bbox=[1, 1, 4, 4], area=16, iscrowd=0)
    categories = [dict(id=1, name='bolt')]
    file.write_text(json.dumps(dict(images=images, annotations=[note], categories=categories)))


def test_lists_of_yolo_take_paths_with_blanks(tmp_path):
    for name in ('one a', 'two b'):
        save_image(tmp_path / 'my images' / f'{name}.JPG', 8, 8)
        write_label(tmp_path / 'my images' / f'{name}.txt')
    (tmp_path / 'train.txt').write_text('./my images/one a.JPG\n\n')
    (tmp_path / 'val.txt').write_text(f'{tmp_path}/my images/two b.JPG\r\n')
    (tmp_path / 'data.yaml').write_text('train: train.txt\nval: val.txt\nnames: [bolt]\n')
    assert sizes(read_folder(tmp_path)) == dict(
        train={'my images/one a.JPG': (8, 8, 1)}, val={'my images/two b.JPG': (8, 8, 1)}
    )


def test_a_list_of_yolo_names_what_is_missing(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / 'train.txt').write_text('images/train/absent.jpg\n')
    (tmp_path / 'data.yaml').write_text('train: train.txt\nnames: [bolt, nut]\n')
    with pytest.raises(InputError, match=r'train\.txt: its image images/train/absent\.jpg does'):
        read_folder(tmp_path)


@pytest.mark.parametrize('kind', ['COCO', 'VOC'])
@pytest.mark.parametrize('text', ['train: {epochs: 3}', 'a: !tag 1', '- names', '"'])
def test_a_foreign_yaml_does_not_make_it_yolo(kind, text, tmp_path):
    WRITERS[kind](tmp_path)
    (tmp_path / 'settings.yaml').write_text(text)
    assert read_folder(tmp_path).kind == kind


def test_a_yaml_of_yolo_may_have_any_name(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / 'data.yaml').rename(tmp_path / 'screws.yml')
    (tmp_path / 'args.yaml').write_text('epochs: 3')
    assert read_folder(tmp_path).kind == 'YOLO'


def test_gaps_in_the_names_of_yolo_do_not_shift_labels(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / 'data.yaml').write_text('train: images\nnames: {0: bolt, 2: nut}\n')
    label = tmp_path / 'labels' / 'train' / 'b.txt'
    label.write_text('2 .5 .5 1 1')
    (tmp_path / 'labels' / 'train' / 'a.txt').unlink()
    data = read_folder(tmp_path)
    assert data.classes == ['bolt', 'nut']
    notes = [note for coco in data.splits.values() for note in coco['annotations']]
    assert [note['category_id'] for note in notes if note['area'] == 48 * 64] == [2]
    label.write_text('1 .5 .5 1 1')
    with pytest.raises(InputError, match=r'class 1 is not one of the 2 names'):
        read_folder(tmp_path)


@pytest.mark.parametrize('names', ['bolt', '{bolt: 0}'])
def test_names_of_yolo_that_are_no_list_are_refused(names, tmp_path):
    write_yolo(tmp_path)
    (tmp_path / 'data.yaml').write_text(f'train: images\nnames: {names}\n')
    with pytest.raises(InputError, match=r'data\.yaml: names must be a list'):
        read_folder(tmp_path)


def test_label_files_without_images_are_counted(tmp_path, warnings):
    write_yolo(tmp_path)
    write_label(tmp_path / 'labels' / 'classes.txt', 'bolt\nnut\n')
    read_folder(tmp_path)
    assert not warnings
    for split in ('train', 'val'):
        write_label(tmp_path / 'labels' / split / 'lost.txt')
    read_folder(tmp_path)
    [message] = warnings
    assert '2 label files have no image' in message
    assert 'labels/train/lost.txt' in message


def test_equal_names_in_two_splits_of_voc(tmp_path):
    for width, split in ((8, 'val'), (16, 'train')):
        save_image(tmp_path / 'images' / split / '1.jpg', width, 16)
        write_xml(tmp_path / 'Annotations' / split / '1.xml', '1.jpg')
    assert sizes(read_folder(tmp_path)) == dict(
        train={'images/train/1.jpg': (16, 16, 1)}, val={'images/val/1.jpg': (8, 16, 1)}
    )


def test_masks_of_voc_are_no_images(tmp_path):
    write_voc(tmp_path)
    expected = read_folder(tmp_path).splits
    save_image(tmp_path / 'A masks' / 'a.png', 1, 1)
    assert read_folder(tmp_path).splits == expected


def test_equal_names_in_two_splits_of_coco(tmp_path):
    for split in ('train', 'valid'):
        save_image(tmp_path / 'images' / split / '1.jpg', 8, 8)
        write_json(tmp_path / f'{split}.json', '1.jpg')
    assert sizes(read_folder(tmp_path)) == dict(
        train={'images/train/1.jpg': (8, 8, 1)}, val={'images/valid/1.jpg': (8, 8, 1)}
    )


def test_two_images_that_could_be_meant_are_named(tmp_path):
    for place in ('one', 'two'):
        save_image(tmp_path / place / '1.jpg', 8, 8)
    save_image(tmp_path / '2.jpg', 8, 8)
    write_json(tmp_path / 'all.json', '1.jpg', '2.jpg')
    with pytest.raises(InputError, match=r'its image 1\.jpg may be .*one/1\.jpg or .*two/1\.jpg'):
        read_folder(tmp_path)
    write_json(tmp_path / 'all.json', '/elsewhere/two/1.jpg', '2.jpg')
    names = {name for split in sizes(read_folder(tmp_path)).values() for name in split}
    assert names == {'two/1.jpg', '2.jpg'}
