"""GroundTruths: padding, the mask, and the two units of its boxes."""

import pytest
import torch
from helpers.batches import random_samples
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData

from mmdet_setdet.models.ground_truths import GroundTruths

FIRST = InstanceData(
    bboxes=torch.tensor([[10.0, 20, 30, 60], [0, 0, 100, 80]]), labels=torch.tensor([7, 5])
)
SECOND = InstanceData(bboxes=torch.tensor([[5.0, 5, 15, 25]]), labels=torch.tensor([3]))
NONE = FIRST[:0]


def test_ground_truths_are_padded_with_zeros():
    gts = GroundTruths.from_instances([FIRST, SECOND, NONE])
    assert gts.labels.tolist() == [[7, 5], [3, 0], [0, 0]]
    assert gts.bboxes[1].tolist() == [[5, 5, 15, 25], [0, 0, 0, 0]]
    assert gts.counts == [2, 1, 0]
    assert gts.total == 3


def test_mask_tells_ground_truths_from_padding():
    gts = GroundTruths.from_instances([FIRST, SECOND, NONE])
    assert gts.mask.tolist() == [[True, True], [True, False], [False, False]]
    assert gts.mask is gts.mask, 'computed once'


@pytest.mark.parametrize('num_images', [1, 3])
def test_batches_without_ground_truths(num_images):
    metas = [dict(img_shape=(100, 100))] * num_images
    gts = GroundTruths.from_instances([NONE] * num_images, metas)
    assert gts.mask.shape == (num_images, 0)
    assert gts.boxes.shape == (num_images, 0, 4)
    assert gts.total == 0


def test_normalised_boxes_are_those_of_the_image_without_padding():
    samples = random_samples([(80, 100), (50, 40)], (128, 160), [2, 1])
    samples[0].gt_instances = FIRST
    samples[1].gt_instances = SECOND
    gts = GroundTruths.from_samples(samples)
    first = [[0.2, 0.5, 0.2, 0.5], [0.5, 0.5, 1.0, 1.0]]
    second = [[0.25, 0.3, 0.25, 0.4], [0.0, 0.0, 0.0, 0.0]]
    torch.testing.assert_close(gts.boxes, torch.tensor([first, second]))
    assert gts.metas[1]['img_path'] == '1.jpg'


def test_mmdets_box_type_is_accepted():
    boxes = InstanceData(bboxes=HorizontalBoxes(FIRST.bboxes), labels=FIRST.labels)
    gts = GroundTruths.from_instances([boxes])
    assert torch.equal(gts.bboxes[0], FIRST.bboxes)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64, torch.int64])
def test_boxes_are_float32_whatever_the_data_has(dtype):
    boxes = InstanceData(bboxes=FIRST.bboxes.to(dtype), labels=FIRST.labels)
    gts = GroundTruths.from_instances([boxes], [dict(img_shape=(80, 100))])
    assert gts.bboxes.dtype == torch.float32
    assert gts.boxes.dtype == torch.float32


def test_boxes_need_the_size_of_the_image():
    gts = GroundTruths.from_instances([FIRST])
    with pytest.raises(KeyError, match='img_shape'):
        gts.boxes  # noqa: B018
