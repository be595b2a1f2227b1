"""Augmentations of images and of batches for classification: what they draw, and what they do to pixels and targets."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS, TRANSFORMS
from PIL import Image
from torch.nn.functional import one_hot

from mmdet_setdet.classification.rand_augment import OPERATIONS
from mmdet_setdet.errors import InputError


@pytest.fixture(autouse=True)
def _numpy_seed():
    """Augmentations draw from numpy."""
    np.random.seed(0)


@pytest.mark.parametrize(('mixup', 'cutmix'), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
@pytest.mark.parametrize('count', [1, 2, 7])
def test_targets_are_mixed_as_the_images_are(mixup, cutmix, count):
    mix = MODELS.build(dict(type='MixImages', mixup=mixup, cutmix=cutmix))
    labels = torch.arange(count)
    targets = one_hot(labels, 8).float()
    # Each pixel is the number of its image, so the mean of a mixture tells the shares.
    numbers = labels.float()[:, None, None, None]
    images = numbers.expand(count, 3, 12, 20).contiguous()
    before = images.clone()
    seen = set()
    for _ in range(20):
        mixed, soft = mix(images, targets)
        assert torch.allclose(soft.sum(1), torch.ones(count))
        assert soft.min() >= 0
        expected = soft @ torch.arange(8.0)
        assert torch.allclose(mixed.mean((1, 2, 3)), expected, atol=1e-4)
        seen.add(soft[0].max().item())
    assert torch.equal(images, before)
    assert len(seen) > 5 or count == 1


def test_mixing_nothing_is_refused():
    with pytest.raises(InputError, match='mixup=0, cutmix=0: at least one must be above 0'):
        MODELS.build(dict(type='MixImages', mixup=0, cutmix=0))


def test_erasing():
    images = torch.full((400, 3, 30, 40), 9.0)
    targets = torch.ones(400, 1)
    erased, same = MODELS.build(dict(type='EraseRectangles', prob=0.25))(images, targets)
    assert same is targets
    assert torch.equal(images, torch.full_like(images, 9.0))
    holes = (erased != 9).all(1)
    share = holes.float().mean((1, 2))
    assert 0.15 < (share > 0).float().mean() < 0.35
    for hole in holes[share > 0]:
        rows = hole.any(1).sum()
        columns = hole.any(0).sum()
        assert hole.sum() == rows * columns
        assert 0.015 < hole.float().mean() < 0.35
    noise = erased[(erased != 9)]
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05


def test_random_resized_crop():
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    crop = TRANSFORMS.build(dict(type='RandomResizedCrop', size=32))
    windows = np.array([crop.window(90, 60) for _ in range(2000)])
    left, top, width, height = windows.T
    assert (windows >= 0).all()
    assert (left + width <= 90).all()
    assert (top + height <= 60).all()
    ratio = width / height
    area = width * height / 5400
    assert 0.7 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.4
    assert 0.07 < area.min() < 0.1
    assert area.max() > 0.8
    # Too long for any allowed ratio: the largest that fits, from the centre.
    window = crop.window(900, 60)
    assert window == (410, 0, 80, 60) or window[3] < 60
    crop = TRANSFORMS.build(dict(type='RandomResizedCrop', size=32, area=(1, 1), ratio=(1.5, 1.5)))
    result = crop(dict(img=image))
    expected = Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(result['img'], expected)
    assert result['img_shape'] == (32, 32)


ALL_VALUES = np.arange(256, dtype=np.uint8).repeat(3)
GREY = Image.fromarray(ALL_VALUES.reshape(16, 16, 3))
FILL = (1, 2, 3)


def operate(name, strength):
    image = OPERATIONS[name](GREY, strength, FILL)
    return np.asarray(image).astype(int)


def test_operations_of_rand_augment():
    values = np.asarray(GREY).astype(int)
    assert len(OPERATIONS) == 15
    for name in OPERATIONS.keys() - {'invert', 'posterize', 'solarize'}:
        assert np.array_equal(operate(name, 0.0), values), name
    assert np.array_equal(operate('invert', 0.9), 255 - values)
    assert np.array_equal(operate('posterize', -0.5), values & 0b11000000)
    assert not operate('posterize', 1.0).any()
    is_dark = values < 128
    assert np.array_equal(operate('solarize', 0.5), np.where(is_dark, values, 255 - values))
    assert np.array_equal(operate('add_to_dark', 1.0), np.where(is_dark, values + 110, values))
    assert np.array_equal(operate('brightness', -1.0), values // 10)
    brighter = operate('brightness', 0.5)
    darker = operate('brightness', -0.5)
    assert brighter.mean() > values.mean() > darker.mean()
    shifted = operate('translate_y', 0.5 / 0.45)
    assert np.array_equal(shifted[:8], values[8:])
    assert (shifted[8:] == FILL).all()
    assert (operate('rotate', 1.0)[0, 0] == FILL).all()


def test_rand_augment():
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    augment = TRANSFORMS.build(dict(type='PillowRandAugment'))
    strengths = np.array([augment.strength() for _ in range(2000)])
    assert np.abs(strengths).max() <= 1
    assert abs(np.abs(strengths).mean() - 0.9) < 0.01
    assert 0.4 < (strengths > 0).mean() < 0.6
    results = [augment(dict(img=image))['img'] for _ in range(200)]
    assert all(result.shape == image.shape and result.dtype == np.uint8 for result in results)
    # Half of the operations are applied; two of two are not for one image in four.
    assert 0.15 < np.mean([np.array_equal(result, image) for result in results]) < 0.4
    never = TRANSFORMS.build(dict(type='PillowRandAugment', prob=0.0))
    assert never(dict(img=image))['img'] is image
