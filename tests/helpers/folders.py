"""The same few images as folders in the formats of COCO, YOLO and Pascal VOC."""

import json

import numpy as np
from PIL import Image

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
