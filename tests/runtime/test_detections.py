"""What the boxes of an image can be turned into."""

import sys
from types import SimpleNamespace

import numpy as np

from mmdet_setdet.runtime import Detections

FOUND = Detections(
    boxes=np.array([[1, 2, 5, 10], [0, 0, 3, 3]], np.float32),
    scores=np.array([0.75, 0.25], np.float32),
    labels=np.array([1, 0]),
    classes=['bolt', 'nut'],
)


def test_names_and_threshold():
    assert FOUND.names == ['nut', 'bolt']
    assert FOUND.above(0.5).names == ['nut']
    assert len(FOUND.above(0.9)) == 0


def test_coco_has_corner_and_size_and_the_ids_of_the_file():
    first = FOUND.to_coco(image_id=7, category_ids=[10, 20])[0]
    assert first == dict(image_id=7, category_id=20, bbox=[1, 2, 4, 8], score=0.75)


def test_supervision_gets_the_same_arrays(monkeypatch):
    stub = SimpleNamespace(Detections=lambda **fields: fields)
    monkeypatch.setitem(sys.modules, 'supervision', stub)
    fields = FOUND.to_supervision()
    assert fields['xyxy'] is FOUND.boxes
    assert fields['data']['class_name'].tolist() == ['nut', 'bolt']
