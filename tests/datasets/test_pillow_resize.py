"""Test images are resized as by DETR's authors: Pillow's pixels, truncated sizes, boxes that find their way back."""

import cv2
import numpy as np
import pytest
from helpers.configs import CONFIGS
from mmcv.transforms import Compose, RandomChoiceResize
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import Config
from PIL import Image

from mmdet_setdet.datasets import PillowResize

# (width, height) of images of COCO and of others -> of what the authors' transform makes of them with 800 and 1333.
SIZES = {
    (640, 480): (1066, 800),  # 1066.67: cut off, where mmcv rounds to 1067
    (480, 640): (800, 1066),
    (640, 427): (1199, 800),
    (500, 375): (1066, 800),
    (640, 361): (1333, 752),  # limited by the longer side
    (333, 640): (694, 1333),
    (612, 187): (1332, 407),  # the shorter side is rounded first, and the longer one follows,
    (500, 247): (1334, 659),  # even beyond its limit
    (800, 1000): (800, 1000),  # left alone
    (1000, 800): (1000, 800),
    (3000, 2000): (1200, 800),
    (3, 5): (800, 1333),
    (1, 7): (190, 1330),
}


def image_of(size, seed=0):
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_size_is_the_authors(size):
    result = PillowResize((1333, 800))(dict(img=image_of(size)))
    assert result['img'].shape[1::-1] == SIZES[size]
    assert result['img_shape'] == SIZES[size][::-1]
    assert result['scale_factor'] == pytest.approx(np.divide(SIZES[size], size), rel=1e-12)


def test_pixels_are_pillows():
    for size in ((64, 48), (37, 90), (300, 200)):
        image = image_of(size)
        result = PillowResize((133, 80))(dict(img=image))
        width, height = result['img'].shape[1::-1]
        expected = np.array(
            Image.fromarray(image[..., ::-1]).resize((width, height), Image.Resampling.BILINEAR)
        )
        np.testing.assert_array_equal(result['img'][..., ::-1], expected)
    # A reduction averages all pixels, which OpenCV's bilinear does not.
    assert np.abs(cv2.resize(image, (width, height)).astype(int) - result['img']).max() > 50


def test_real_images_reach_the_model_as_pillow_sees_them(coco128):
    load, resize = Config.fromfile(CONFIGS / 'dn_detr_r50_50e.py').test_dataloader.dataset.pipeline[
        :2
    ]
    pipeline = Compose([load, resize])
    for path in sorted((coco128 / 'val2017').iterdir())[:8]:
        result = pipeline(dict(img_path=str(path)))
        size = result['img'].shape[1::-1]
        expected = np.array(Image.open(path).convert('RGB').resize(size, Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(result['img'][..., ::-1], expected)
        assert min(size) == 800 or max(size) >= 1330


@pytest.mark.parametrize('name', [path.name for path in CONFIGS.glob('*detr*.py')])
def test_published_models_are_tested_with_it(name):
    cfg = Config.fromfile(CONFIGS / name)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        resizes = [step for step in loader.dataset.pipeline if 'Resize' in step.type]
        assert resizes == [dict(type='PillowResize', scale=(1333, 800))]


def test_boxes_follow_and_come_back():
    boxes = np.array([[10.0, 20.0, 300.0, 400.0], [0.0, 0.0, 640.0, 480.0]], dtype=np.float32)
    result = PillowResize((1333, 800))(
        dict(img=image_of((640, 480)), gt_bboxes=HorizontalBoxes(boxes))
    )
    factor = np.tile(result['scale_factor'], 2)
    np.testing.assert_allclose(result['gt_bboxes'].tensor, boxes * factor, rtol=1e-6)
    np.testing.assert_allclose(result['gt_bboxes'].tensor[1], [0, 0, 1066, 800], rtol=1e-6)
    np.testing.assert_allclose(result['gt_bboxes'].tensor.numpy() / factor, boxes, rtol=1e-6)


def test_serves_training_pipelines():
    resize = RandomChoiceResize([(480, 1333)], resize_type='PillowResize')
    assert resize(dict(img=image_of((640, 427))))['img'].shape[:2] == (480, 719)
