"""Pictures become the tensors that the torch pipeline makes of them."""

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from PIL import Image

from mmdet_setdet.datasets.transforms import PillowResize
from mmdet_setdet.errors import InputError
from mmdet_setdet.runtime import ModelInfo
from mmdet_setdet.runtime.images import read_image, resized, to_batch
from mmdet_setdet.runtime.resizing import fitting_size, resize_bilinear

SIZES = [(37, 61), (61, 37), (120, 97), (247, 500), (50, 50)]


def info(**changes):
    fields = dict(
        config='c', version='0', classes=['a'], mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], rgb=True
    )
    return ModelInfo(**{**fields, 'resize': 'fit', 'scale': [96, 64], **changes})


def picture(height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(pixels, (5, 5), 0)


@pytest.mark.parametrize('size', SIZES)
def test_the_authors_resizing_is_that_of_the_training_pipeline_to_the_pixel(size):
    image = picture(*size)
    expected = PillowResize(scale=(96, 64))(dict(img=image))['img']
    actual = resized(image, info(resize='detr', filter='bilinear'))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize('size', SIZES)
def test_mmdets_resizing_without_opencv_differs_by_a_grey_level_at_most(size):
    image = picture(*size)
    height, width = size
    assert fitting_size(width, height, (96, 64)) == mmcv.rescale_size((width, height), (96, 64))
    expected = mmcv.imrescale(image, (96, 64))
    actual = resized(image, info())
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected).max() <= 1


def test_an_image_of_the_right_size_is_not_changed():
    image = picture(64, 96)
    np.testing.assert_array_equal(resize_bilinear(image, (96, 64)), image)


def test_an_input_of_a_fixed_size_is_never_exceeded():
    limited = info(fixed=dict(height=64, width=80))
    assert resized(picture(500, 100), limited).shape[0] <= 64
    assert resized(picture(100, 500), limited).shape[1] <= 80


@pytest.mark.parametrize('divisor', [1, 32])
def test_a_batch_is_what_the_data_preprocessor_makes(divisor):
    images = [picture(40, 60), picture(64, 33, seed=1)]
    settings = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], pad_size_divisor=divisor)
    preprocessor = DetDataPreprocessor(bgr_to_rgb=False, **settings)
    tensors = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images]
    samples = [DetDataSample(metainfo=dict(img_shape=image.shape[:2])) for image in images]
    expected = preprocessor(dict(inputs=tensors, data_samples=samples))['inputs']

    batch, sizes = to_batch(images, info(size_divisor=divisor))
    np.testing.assert_allclose(batch, expected.numpy(), atol=1e-6)
    assert sizes.tolist() == [[40, 60], [64, 33]]


def test_channels_of_a_blue_green_red_model_are_swapped():
    image = picture(8, 8)
    batch, _ = to_batch([image], info(rgb=False, mean=[0.0] * 3, std=[1.0] * 3))
    np.testing.assert_array_equal(batch[0].transpose(1, 2, 0), image[..., ::-1])


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'P', 'CMYK', 'I;16'])
def test_every_kind_of_picture_becomes_red_green_blue(mode, tmp_path):
    grey = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
    if mode == 'I;16':
        image = Image.fromarray(grey.astype(np.uint16) << 8)
    else:
        image = Image.fromarray(grey)
        image = image.convert(mode) if mode == 'P' else image.convert('RGB').convert(mode)
    file = tmp_path / ('a.tif' if mode == 'CMYK' else 'a.png')
    image.save(file)
    pixels = read_image(file)
    assert pixels.shape == (8, 8, 3)
    assert np.abs(pixels.astype(int) - grey[..., None]).max() <= 2


def test_a_picture_is_turned_as_the_camera_says(tmp_path):
    image = Image.fromarray(picture(6, 9))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / 'a.png', exif=exif)
    assert read_image(tmp_path / 'a.png').shape == (9, 6, 3)


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r'a\.jpg: no such image file'):
        read_image(tmp_path / 'a.jpg')
    (tmp_path / 'b.jpg').write_text('hello')
    with pytest.raises(InputError, match=r'b\.jpg: not an image'):
        read_image(tmp_path / 'b.jpg')
    with pytest.raises(InputError, match='uint8'):
        read_image(np.zeros((4, 4, 3)))


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    Image.new('RGB', (100, 100)).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    with pytest.raises(InputError, match='too large'):
        read_image(tmp_path / 'a.png')
