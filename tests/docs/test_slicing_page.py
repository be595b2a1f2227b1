"""The page on slices: SAHI and supervision's slicer find in each slice what the detector finds there."""

import numpy as np
import pytest
import torch
from helpers.configs import CONFIGS
from mmdet.apis import DetInferencer
from mmengine.config import Config

from mmdet_setdet import SetDetector

CONFIG = CONFIGS / 'quickstart' / 'dn_detr_r18_shapes.py'
SIDE = 128
# Two slices side by side.
IMAGE = np.random.default_rng(0).integers(0, 256, (SIDE, 2 * SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def detector():
    torch.manual_seed(0)
    return SetDetector.from_config(CONFIG)


@pytest.fixture(scope='module')
def boxes(detector):
    """The boxes of both slices in pixels of the whole image, in any order."""
    slices = [IMAGE[:, :SIDE].copy(), IMAGE[:, SIDE:].copy()]
    left, right = detector.predict(slices)
    assert len(left) == len(right) == 100
    right.boxes[:, ::2] += SIDE
    return in_order(np.concatenate([left.boxes, right.boxes]))


def in_order(boxes):
    return boxes[np.lexsort(boxes.T)]


@pytest.mark.parametrize('batch_size', [1, 2])
def test_supervision(batch_size, detector, boxes):
    supervision = pytest.importorskip('supervision', reason='needs supervision')

    def detect(images):
        found = detector.predict(images)
        if batch_size == 1:
            return found.to_supervision()
        return [one.to_supervision() for one in found]

    found = supervision.InferenceSlicer(
        detect, slice_wh=SIDE, overlap_wh=0, overlap_filter='none', batch_size=batch_size
    )(IMAGE)
    np.testing.assert_allclose(in_order(found.xyxy), boxes, atol=1e-3)
    assert set(found['class_name']) <= set(detector.classes)


def test_supervision_of_slices_without_objects(detector):
    supervision = pytest.importorskip('supervision', reason='needs supervision')
    slicer = supervision.InferenceSlicer(
        lambda image: detector.predict(image, score=1.0).to_supervision(), slice_wh=SIDE
    )
    assert len(slicer(IMAGE)) == 0


@pytest.mark.parametrize('resize', ['Resize', 'PillowResize'])
def test_sahi(resize, detector, boxes, tmp_path):
    sahi = pytest.importorskip('sahi', reason='needs sahi')
    from sahi.predict import get_sliced_prediction

    cfg = Config.fromfile(CONFIG)
    cfg.test_dataloader.dataset.pipeline[1] = dict(type=resize, scale=(SIDE, SIDE))
    weights = tmp_path / 'weights.pth'
    meta = dict(dataset_meta=dict(classes=detector.classes))
    torch.save(dict(state_dict=detector.model.state_dict(), meta=meta), weights)
    inferencer = DetInferencer(cfg, str(weights), device='cpu', show_progress=False)
    model = sahi.AutoDetectionModel.from_pretrained(
        'mmdet', model=inferencer, device='cpu', confidence_threshold=0.0
    )
    found = get_sliced_prediction(
        IMAGE,
        model,
        slice_height=SIDE,
        slice_width=SIDE,
        overlap_height_ratio=0,
        overlap_width_ratio=0,
        perform_standard_pred=False,
        postprocess_match_threshold=1.1,
        verbose=0,
    ).object_prediction_list
    corners = np.array([one.bbox.to_xyxy() for one in found])
    np.testing.assert_allclose(in_order(corners), boxes, atol=1e-2)
    assert {one.category.name for one in found} <= set(detector.classes)
