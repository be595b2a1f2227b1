"""What the boxes of an image can be turned into."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from PIL import Image

from mmdet_setdet.runtime import Detections, Detector, ModelInfo, detector

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


class PaddedSession:
    """A session whose three boxes look at other cells of a map of 2 x 3."""

    info = ModelInfo(
        config='c',
        version='0',
        classes=['a'],
        mean=[0.0] * 3,
        std=[1.0] * 3,
        rgb=True,
        resize='fit',
        scale=[96, 64],
        size_divisor=32,
    )

    def __call__(self, images, sizes):
        count = len(images)
        scores = np.tile(np.float32([0.9, 0.5, 0.1]), (count, 1))
        boxes, labels = np.zeros((count, 3, 4)), np.zeros((count, 3), int)
        attention = np.eye(6, dtype=np.float32)[:3].reshape(1, 3, 2, 3)
        return dict(
            boxes=boxes,
            scores=scores,
            labels=labels,
            layer_boxes=boxes,
            layer_scores=scores,
            layer_labels=labels,
            attention=attention.repeat(count, 0),
        )


def test_attention_is_cut_to_the_image_and_follows_the_boxes(monkeypatch):
    monkeypatch.setattr(detector, 'open_session', lambda path, threads: PaddedSession())
    pictures = [np.array(Image.new('RGB', size)) for size in [(96, 64), (60, 64), (96, 30)]]
    whole, narrow, low = Detector('model.onnx')(pictures, score=0.3)
    assert whole.layers.attention.shape == (2, 2, 3)
    assert narrow.layers.attention.shape == (2, 2, 2)
    assert low.layers.attention.shape == (2, 1, 3)
    assert whole.layers.attention[1].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert whole[[1]].layers.attention.argmax() == 1


class DuplicatesSession(PaddedSession):
    """The same, with three boxes in one place."""

    info = replace(PaddedSession.info, max_overlap=0.5)

    def __call__(self, images, sizes):
        outputs = super().__call__(images, sizes)
        return dict(outputs, boxes=outputs['boxes'] + [2, 3, 10, 20])


def test_duplicates_are_left_out_where_the_file_says_so(monkeypatch):
    monkeypatch.setattr(detector, 'open_session', lambda path, threads: DuplicatesSession())
    found = Detector('model.onnx')(np.zeros((64, 96, 3), np.uint8), score=0.0)
    assert found.boxes.tolist() == [[2, 3, 10, 20]]
    assert found.layers.boxes.shape == (3, 4)
    assert found.layers.attention.tolist() == [[[1, 0, 0], [0, 0, 0]]]
