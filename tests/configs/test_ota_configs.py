"""The detectors of OTA's paper and those they are compared with: the recipe of their authors; each trains a step."""

import copy

import pytest
import torch
from helpers.batches import ragged_batch
from helpers.configs import CONFIGS, DENSE
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.config import Config

from mmdet_setdet.models.dense_heads import OTAHead

FILES = [*CONFIGS.glob('*.py'), *CONFIGS.glob('quickstart/*.py')]
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in FILES if DENSE.match(path.stem))
PUBLISHED = [
    'ota_r50_fpn_1x.py',
    'ota_r101_fpn_2x.py',
    'ota_x101_fpn_2x.py',
    'ota_x101_dcn_fpn_2x.py',
]
COMPARED = ['fcos_r50_fpn_1x.py', 'atss_r50_fpn_1x.py']


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    cfg.model.backbone.init_cfg = None
    return cfg


def small(name):
    """The model with an eighth of its width and few blocks; those of the quick start are as they are."""
    model = load(name).model
    if name.startswith('quickstart'):
        return model
    if model.backbone.type.endswith('.ResNet'):
        model.backbone.update(depth=18, base_channels=16)
        channels = [32, 64, 128]
    else:
        model.backbone.update(depth=50, groups=4, base_channels=16)
        channels = [128, 256, 512]
    model.neck.update(in_channels=channels, out_channels=32)
    model.bbox_head.update(in_channels=32, feat_channels=32, stacked_convs=1)
    return model


def test_published_configs_are_there():
    names = {name for name in NAMES if '/' not in name}
    assert names == {*PUBLISHED, *COMPARED}


@pytest.mark.parametrize('name', NAMES)
def test_builds_and_names_what_it_needs(name):
    cfg = load(name)
    assert cfg.default_scope == 'mmdet'
    assert cfg.runner_type == 'CheckingRunner'
    assert cfg.custom_imports.imports == ['mmdet_setdet']
    data = cfg.train_dataloader.dataset
    assert DATASETS.get(data.type)
    assert all(TRANSFORMS.get(step.type) for step in data.pipeline)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    has_our_head = name in PUBLISHED or cfg.model.bbox_head.type == 'OTAHead'
    assert isinstance(model.bbox_head, OTAHead) == has_our_head


@pytest.mark.parametrize('name', [*PUBLISHED, *COMPARED])
def test_recipe_is_that_of_the_authors(name):
    cfg = load(name)
    long = '2x' in name
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'SGD'
    assert optimizer.lr == 0.01
    assert optimizer.momentum == 0.9
    assert optimizer.weight_decay == 1e-4
    assert cfg.optim_wrapper.paramwise_cfg == dict(norm_decay_mult=0.0)
    assert 'clip_grad' not in cfg.optim_wrapper
    warm_up, steps = cfg.param_scheduler
    assert warm_up.start_factor == 0.001
    assert warm_up.end == 1000
    assert warm_up.by_epoch is False
    assert cfg.train_cfg.max_epochs == (24 if long else 12)
    assert steps.end == cfg.train_cfg.max_epochs
    assert steps.milestones == ([16, 22] if long else [8, 11])
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.train_dataloader.batch_size == 2
    resize = cfg.train_dataloader.dataset.pipeline[2]
    assert resize.scale == ([(1333, 640), (1333, 800)] if long else (1333, 800))
    test_resize = cfg.test_dataloader.dataset.pipeline[1]
    assert test_resize == dict(type='Resize', scale=(1333, 800), keep_ratio=True, backend='pillow')
    assert cfg.model.test_cfg == dict(
        nms_pre=1000, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.6), max_per_img=100
    )
    assert cfg.model.backbone.frozen_stages == 1


@pytest.mark.parametrize('name', PUBLISHED)
def test_pixels_are_those_of_the_first_weights(name):
    model = Config.fromfile(CONFIGS / name).model
    is_caffe = 'caffe' in model.backbone.init_cfg.checkpoint
    if is_caffe:
        assert model.backbone.type == 'mmdet_setdet.ResNet'
    is_caffe_style = model.backbone.get('style') == 'caffe'
    assert is_caffe_style == is_caffe
    assert model.data_preprocessor.bgr_to_rgb != is_caffe
    has_unit_std = model.data_preprocessor.std == [1.0, 1.0, 1.0]
    assert has_unit_std == is_caffe


@pytest.mark.parametrize('name', COMPARED)
def test_compared_configs_differ_in_the_head_alone(name):
    ota, compared = load('ota_r50_fpn_1x.py'), load(name)
    for cfg in (ota, compared):
        for part in ('type', 'bbox_head', 'train_cfg'):
            cfg.model.pop(part, None)
    assert compared.to_dict() == ota.to_dict()


# ota_r101_fpn_2x.py is ota_r50_fpn_1x.py once both are small.
DISTINCT = [name for name in NAMES if name != 'ota_r101_fpn_2x.py']


@pytest.mark.parametrize('name', DISTINCT)
def test_trains_a_step_and_predicts(name):
    cfg = small(name)
    cfg.test_cfg.score_thr = 0.0
    model = MODELS.build(cfg)
    model.init_weights()
    inputs, samples = ragged_batch()
    for sample in samples:
        sample.gt_instances.labels %= cfg.bbox_head.num_classes
        sample.set_metainfo(dict(pad_shape=inputs.shape[-2:]))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    model.train()
    totals = []
    for _ in range(2):
        total, _ = model.parse_losses(model.loss(inputs, copy.deepcopy(samples)))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert torch.tensor(totals).isfinite().all()
    assert totals[0] != totals[1]
    model.eval()
    with torch.no_grad():
        results = model.predict(inputs, samples)
    for result in results:
        predicted = result.pred_instances
        assert 0 < len(predicted) <= 100
        assert predicted.bboxes.isfinite().all()
        assert predicted.scores.min() >= 0
        assert predicted.scores.max() <= 1
