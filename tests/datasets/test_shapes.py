"""The generated data set: reproducible, exactly annotated, and usable wherever mmdet uses a data set."""

import itertools
import pickle
from collections import Counter

import cv2
import numpy as np
import pytest
from helpers.configs import CONFIGS
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.fileio import get
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmdet_setdet.datasets import ShapeScenes, ShapesDataset
from mmdet_setdet.errors import InputError

CONFIG = CONFIGS / '_base_/datasets/shapes_detection.py'


def read(path):
    """The image of a path of any backend."""
    return cv2.imdecode(np.frombuffer(get(path), np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def config():
    return Config.fromfile(CONFIG)


def test_images_depend_on_seed_and_index_only():
    scenes = ShapeScenes(seed=3)
    first = scenes.render(7)
    other = scenes.render(8)
    assert first.shape == (128, 128, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(ShapeScenes(seed=3).render(7), first)
    assert np.any(first != other)
    assert np.any(first != ShapeScenes(seed=4).render(7))
    assert first.reshape(-1, 3).std(0).min() > 3, 'a flat background'


def test_boxes_are_tight_around_objects_that_stand_out(monkeypatch):
    scenes = ShapeScenes(seed=1, max_objects=1, empty_ratio=0)
    shapes = [scenes.layout(index)[0] for index in range(40)]
    images = [scenes.render(index).astype(int) for index in range(40)]
    monkeypatch.setattr(ShapeScenes, 'layout', lambda self, index: [])
    for index, (shape, image) in enumerate(zip(shapes, images, strict=True)):
        x1, y1, x2, y2 = shape.bbox
        assert 0 <= x1 < x2 <= 128
        assert 0 <= y1 < y2 <= 128
        assert shape.mask.any(0)[[0, -1]].all()
        assert shape.mask.any(1)[[0, -1]].all()
        change = np.abs(image - scenes.render(index)).max(-1)
        inside = np.zeros((128, 128), bool)
        inside[shape.window] = shape.mask
        assert np.median(change[inside]) > 30, f'the object of image {index} can hardly be seen'


def test_enough_of_every_object_is_visible():
    scenes = ShapeScenes(seed=2, min_objects=4, empty_ratio=0)
    for index in range(60):
        shapes = scenes.layout(index)
        covered = np.zeros((128, 128), bool)
        assert shapes
        for shape in reversed(shapes):
            visible = np.count_nonzero(shape.mask & ~covered[shape.window])
            assert visible >= 0.35 * np.count_nonzero(shape.mask)
            covered[shape.window] |= shape.mask


def test_classes_are_balanced_and_some_images_are_empty():
    dataset = ShapesDataset(num_images=800, seed=5)
    layouts = [dataset.get_data_info(i)['instances'] for i in range(len(dataset))]
    instances = itertools.chain.from_iterable(layouts)
    labels = Counter(instance['bbox_label'] for instance in instances)
    assert set(labels) == set(range(6))
    assert max(labels.values()) < 1.3 * min(labels.values())
    assert 0.02 < np.mean([not instances for instances in layouts]) < 0.09
    assert max(map(len, layouts)) == 6


def test_sizes_may_vary_and_masks_match_boxes():
    dataset = ShapesDataset(num_images=20, seed=0, image_size=(96, 160), with_mask=True)
    infos = [dataset.get_data_info(index) for index in range(20)]
    assert len({(info['width'], info['height']) for info in infos}) > 10
    for info in infos:
        image = read(info['img_path'])
        assert image.shape == (info['height'], info['width'], 3)
        info.update(img_shape=image.shape[:2], ori_shape=image.shape[:2])
        results = LoadAnnotations(with_mask=True)(info)
        boxes = results['gt_bboxes'].tensor.numpy()
        masks = results['gt_masks'].masks
        assert len(boxes) == len(masks) == len(info['instances'])
        for box, mask in zip(boxes, masks, strict=True):
            y, x = np.nonzero(mask)
            extent = [x.min(), y.min(), x.max() + 1, y.max() + 1]
            np.testing.assert_array_equal(box, extent)


def test_filters_indices_classes_and_lazy_init():
    everything = ShapesDataset(num_images=200, seed=0)
    occupied = ShapesDataset(num_images=200, seed=0, filter_cfg=dict(filter_empty_gt=True))
    assert 0 < len(occupied) < 200
    assert all(occupied.get_data_info(i)['instances'] for i in range(len(occupied)))
    assert (
        len(ShapesDataset(num_images=200, filter_cfg=dict(filter_empty_gt=True), test_mode=True))
        == 200
    )
    part = ShapesDataset(num_images=200, indices=[5, 9], lazy_init=True, serialize_data=False)
    part.full_init()
    assert [part.get_data_info(i)['img_id'] for i in range(2)] == [5, 9]
    assert part.get_data_info(1)['instances'] == everything.get_data_info(9)['instances']
    two = ShapesDataset(num_images=50, metainfo=dict(classes=('star', 'circle')))
    assert {label for i in range(50) for label in two.get_cat_ids(i)} == {0, 1}
    image = read(two.get_data_info(0)['img_path'])
    np.testing.assert_array_equal(image, two.scenes.render(0))


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        (dict(num_images=0), 'num_images'),
        (dict(min_objects=3, max_objects=2), 'max_objects'),
        (dict(object_size=(0.5, 0.2)), 'object_size'),
        (dict(image_size=16), 'image_size'),
        (dict(empty_ratio=2), 'empty_ratio'),
        (dict(metainfo=dict(classes=('circle', 'dog'))), 'dog'),
    ],
)
def test_settings_out_of_range_are_refused(settings, named):
    with pytest.raises(InputError, match=named):
        ShapesDataset(**{'num_images': 3, **settings})


@pytest.mark.parametrize(
    'name', ['shapes://seed=0/x.png', 'shapes://sed=0/000001.png', 'shapes://000001.png']
)
def test_names_of_no_image_are_refused(name):
    with pytest.raises(FileNotFoundError, match='shapes://seed=0/000012.png'):
        get(name)


def test_base_config_loads_in_workers_and_perfect_predictions_score_one(config):
    config.val_dataloader.dataset.num_images = 40
    loader = Runner.build_dataloader(config.val_dataloader)
    metric = METRICS.build(config.val_evaluator)
    metric.dataset_meta = loader.dataset.metainfo
    seen = 0
    for batch in loader:
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
            truth = sample.gt_instances
            painted = loader.dataset.scenes.render(sample.img_id)
            np.testing.assert_array_equal(image.permute(1, 2, 0), painted)
            boxes = truth.bboxes.tensor
            scores = boxes.new_ones(len(truth))
            sample.pred_instances = InstanceData(bboxes=boxes, labels=truth.labels, scores=scores)
            seen += 1
        metric.process(batch, [sample.to_dict() for sample in batch['data_samples']])
    assert seen == 40
    assert metric.evaluate(40)['coco/bbox_mAP'] == 1.0


def test_training_and_held_back_images_differ(config):
    train = DATASETS.build(config.train_dataloader.dataset)
    held_back = DATASETS.build(config.val_dataloader.dataset)
    assert train.scenes.seed != held_back.scenes.seed
    assert np.any(train.scenes.render(0) != held_back.scenes.render(0))
    item = train[3]
    boxes = item['data_samples'].gt_instances.bboxes.tensor
    assert item['inputs'].shape == (3, 128, 128)
    assert len(boxes) == len(train.get_data_info(3)['instances'])
    copy = pickle.loads(pickle.dumps(held_back))
    np.testing.assert_array_equal(copy[5]['inputs'], held_back[5]['inputs'])
