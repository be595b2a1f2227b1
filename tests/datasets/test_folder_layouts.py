"""Folders as people have them: other layouts, names and habits than the textbook's."""

import json

import pytest
from helpers.folders import SCENES, WRITERS, save_image, write_coco, write_voc, write_yolo

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


def roboflow_coco(folder):
    for split in ('train', 'valid', 'test'):
        save_image(folder / split / 'a_jpg.rf.1.jpg', 8, 8)
        write_json(folder / split / '_annotations.coco.json', 'a_jpg.rf.1.jpg')
    return dict.fromkeys(('train', 'valid', 'test'), 'a_jpg.rf.1.jpg')


def roboflow_yolo(folder):
    lines = []
    for split in ('train', 'valid', 'test'):
        save_image(folder / split / 'images' / 'a_jpg.rf.1.jpg', 8, 8)
        write_label(folder / split / 'labels' / 'a_jpg.rf.1.txt')
        lines.append(f'{split.replace("valid", "val")}: ../{split}/images\n')
    (folder / 'data.yaml').write_text(''.join(lines) + "nc: 1\nnames: ['bolt']\n")
    return dict.fromkeys(('train', 'valid', 'test'), 'images/a_jpg.rf.1.jpg')


def roboflow_voc(folder):
    for split in ('train', 'valid', 'test'):
        save_image(folder / split / 'a_jpg.rf.1.jpg', 8, 8)
        write_xml(folder / split / 'a_jpg.rf.1.xml', 'a_jpg.rf.1.jpg')
    return dict.fromkeys(('train', 'valid', 'test'), 'a_jpg.rf.1.jpg')


@pytest.mark.parametrize('write', [roboflow_coco, roboflow_yolo, roboflow_voc])
def test_folders_of_roboflow(write, tmp_path):
    names = write(tmp_path)
    assert sizes(read_folder(tmp_path)) == {
        split.replace('valid', 'val'): {f'{split}/{name}': (8, 8, 1)}
        for split, name in names.items()
    }


def test_images_beside_labels_elsewhere_by_absolute_paths(tmp_path):
    images = tmp_path / 'images of all'
    for split in ('train', 'val'):
        save_image(images / split / 'a.JPEG', 8, 8)
        save_image(images / split / 'b.PNG', 8, 8)
        write_label(images / split / 'a.txt')
    (tmp_path / 'yolo').mkdir()
    (tmp_path / 'yolo' / 'data.yaml').write_text(
        f'path: {images}\ntrain: train\nval: {images}/val\nnames: {{0: bolt}}\n'
    )
    found = sizes(read_folder(tmp_path / 'yolo'))
    assert found['val'] == {f'{images}/val/a.JPEG': (8, 8, 1), f'{images}/val/b.PNG': (8, 8, 0)}
    assert len(found['train']) == 2


def test_the_box_around_a_polygon_of_yolo(tmp_path):
    write_yolo(tmp_path)
    write_label(tmp_path / 'labels' / 'train' / 'a.txt', '1 .25 .5 .75 .25 .5 1 .5 .75\n')
    notes = read_folder(tmp_path).splits['train']['annotations']
    assert notes[0]['bbox'] == [16, 12, 32, 36]


def test_coco_with_paths_of_its_program(tmp_path):
    save_image(tmp_path / 'elsewhere' / 'a.jpg', 8, 8)
    save_image(tmp_path / 'data' / 'images' / 'B.JPG', 8, 8)
    absolute = tmp_path / 'elsewhere' / 'a.jpg'
    write_json(tmp_path / 'data' / 'train.json', absolute, 'C:\\images\\b.jpg')
    write_json(tmp_path / 'data' / 'val.json', '../elsewhere/a.jpg')
    found = sizes(read_folder(tmp_path / 'data'))
    assert found['train'] == {str(absolute): (8, 8, 1), 'images/B.JPG': (8, 8, 0)}
    assert len(found['val']) == 1


def test_xml_files_and_images_in_one_folder(tmp_path):
    for index in range(5):
        save_image(tmp_path / f'{index}.JPG', 8, 8)
        write_xml(tmp_path / f'{index}.XML', f'/home/me/{index}.jpg')
    # An image without labels, what a program and macOS leave behind, and settings.
    save_image(tmp_path / 'extra.jpg', 8, 8)
    write_xml(tmp_path / '.trash' / '7.xml', '7.jpg')
    write_label(tmp_path / '__MACOSX' / '._1.xml', 'x')
    write_label(tmp_path / 'pom.xml', '<project/>')
    found = sizes(read_folder(tmp_path))
    assert {split: len(images) for split, images in found.items()} == dict(train=4, val=1)


def test_names_with_blanks_in_the_lists_of_voc(tmp_path, warnings):
    for name in ('a 1', 'b 2'):
        save_image(tmp_path / 'JPEGImages' / f'{name}.jpg', 8, 8)
        write_xml(tmp_path / 'Annotations' / f'{name}.xml', f'{name}.jpg')
    lists = tmp_path / 'ImageSets' / 'Main'
    write_label(lists / 'train.txt', 'a 1\nc 3\n')
    write_label(lists / 'val.txt', 'b 2\n')
    found = sizes(read_folder(tmp_path))
    assert [list(images) for images in found.values()] == [
        ['JPEGImages/a 1.jpg'],
        ['JPEGImages/b 2.jpg'],
    ]
    assert '1 of 3 names in ImageSets/Main have no XML file, for example c 3' in warnings[0]
    write_label(lists / 'train.txt', 'c\n')
    write_label(lists / 'val.txt', 'd\n')
    with pytest.raises(InputError, match='2 of 2 names in ImageSets/Main have no XML'):
        read_folder(tmp_path)


def test_links_to_folders_and_files_are_followed(tmp_path):
    write_coco(tmp_path / 'store')
    linked = tmp_path / 'coco'
    linked.mkdir()
    for name in ('annotations', 'train2017', 'val2017'):
        (linked / name).symlink_to(tmp_path / 'store' / name)
    (linked / 'back').symlink_to(linked)
    assert len(sizes(read_folder(linked))['train']) == len(SCENES['train'])

    yolo = tmp_path / 'yolo'
    for name in ('a', 'b'):
        write_label(yolo / 'labels' / f'{name}.txt')
        (yolo / 'images').mkdir(exist_ok=True)
        (yolo / 'images' / f'{name}.jpg').symlink_to(tmp_path / 'store' / 'train2017' / 'c.jpg')
    (yolo / 'data.yaml').write_text('train: images\nnames: [bolt]\n')
    found = sizes(read_folder(yolo))
    assert found['train'] | found['val'] == {
        'images/a.jpg': (32, 32, 1),
        'images/b.jpg': (32, 32, 1),
    }


@pytest.mark.parametrize('kind', WRITERS)
def test_files_of_windows(kind, tmp_path):
    WRITERS[kind](tmp_path)
    expected = read_folder(tmp_path).splits
    for file in tmp_path.rglob('*.*'):
        if file.suffix in ('.json', '.yaml', '.xml', '.txt'):
            text = file.read_text().replace('\n', '\r\n').replace('images/', 'images\\')
            file.write_bytes(b'\xef\xbb\xbf' + text.encode())
    assert read_folder(tmp_path).splits == expected


def test_a_test_split_of_yolo_may_have_no_labels(tmp_path, warnings):
    roboflow_yolo(tmp_path)
    (tmp_path / 'test' / 'labels' / 'a_jpg.rf.1.txt').unlink()
    assert list(read_folder(tmp_path).splits) == ['train', 'val']
    assert 'test is left out' in warnings[0]


def test_a_file_in_place_of_the_folder(tmp_path):
    write_json(tmp_path / 'a.json', 'a.jpg')
    with pytest.raises(InputError, match=r'a\.json: give the folder of the data set'):
        read_folder(tmp_path / 'a.json')
