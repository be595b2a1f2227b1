"""The detectors of OTA's paper and those they are compared with: the recipe of their authors; each trains a step."""
import copy

import pytest
import torch
from helpers.batches import ragged_batch
from helpers.configs import CONFIGS, DENSE
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.config import Config

from mmdet_setdet.models.dense_heads import OTAHead

NAMES = sorted(str(path.relative_to(CONFIGS)) for pattern in ('*.py', 'quickstart/*.py')
               for path in CONFIGS.glob(pattern) if DENSE.match(path.stem))
PUBLISHED = ['ota_r50_fpn_1x.py', 'ota_r101_fpn_2x.py', 'ota_x101_fpn_2x.py', 'ota_x101_dcn_fpn_2x.py']
COMPARED = ['fcos_r50_fpn_1x.py', 'atss_r50_fpn_1x.py']


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    cfg.model.backbone.init_cfg = None
    return cfg


def small(name):
    """The model with an eighth of its width and few blocks; those of the quick start are small."""
    model = load(name).model
    if not name.startswith('quickstart'):
        widths = dict(depth=18) if model.backbone.type.endswith('.ResNet') else dict(depth=50, groups=4)
        model.backbone.update(base_channels=16, **widths)
        expansion = 4 if 'groups' in widths else 1
        model.neck.update(in_channels=[expansion * channels for channels in (32, 64, 128)], out_channels=32)
        model.bbox_head.update(in_channels=32, feat_channels=32, stacked_convs=1)
    return model


def test_published_configs_are_there():
    assert {name for name in NAMES if '/' not in name} == {*PUBLISHED, *COMPARED}


@pytest.mark.parametrize('name', NAMES)
def test_builds_and_names_what_it_needs(name):
    cfg = load(name)
    assert cfg.default_scope == 'mmdet' and cfg.runner_type == 'CheckingRunner'
    assert cfg.custom_imports.imports == ['mmdet_setdet']
    data = cfg.train_dataloader.dataset
    assert DATASETS.get(data.type) and all(TRANSFORMS.get(step.type) for step in data.pipeline)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert isinstance(model.bbox_head, OTAHead) == (name not in COMPARED and 'quickstart' not in name
                                                    or cfg.model.bbox_head.type == 'OTAHead')


@pytest.mark.parametrize('name', [*PUBLISHED, *COMPARED])
def test_recipe_is_that_of_the_authors(name):
    cfg, long = load(name), '2x' in name
    warm_up, steps = cfg.param_scheduler
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.01, 0.9, 1e-4)
    assert cfg.optim_wrapper.paramwise_cfg == dict(norm_decay_mult=0.) and 'clip_grad' not in cfg.optim_wrapper
    assert (warm_up.start_factor, warm_up.end, warm_up.by_epoch) == (0.001, 1000, False)
    assert cfg.train_cfg.max_epochs == steps.end == (24 if long else 12)
    assert steps.milestones == ([16, 22] if long else [8, 11])
    assert cfg.auto_scale_lr.base_batch_size == 16 and cfg.train_dataloader.batch_size == 2
    resize = cfg.train_dataloader.dataset.pipeline[2]
    assert resize.scale == ([(1333, 640), (1333, 800)] if long else (1333, 800))
    assert cfg.test_dataloader.dataset.pipeline[1] == dict(
        type='Resize', scale=(1333, 800), keep_ratio=True, backend='pillow')
    assert cfg.model.test_cfg == dict(
        nms_pre=1000, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.6), max_per_img=100)
    assert cfg.model.backbone.frozen_stages == 1


def test_pixels_are_those_of_the_first_weights():
    for name in PUBLISHED:
        cfg = Config.fromfile(CONFIGS / name)
        caffe = 'caffe' in cfg.model.backbone.init_cfg.checkpoint
        assert caffe == (cfg.model.backbone.type == 'mmdet_setdet.ResNet' and cfg.model.backbone.style == 'caffe')
        assert cfg.model.data_preprocessor.bgr_to_rgb != caffe
        assert (cfg.model.data_preprocessor.std == [1., 1., 1.]) == caffe


def test_compared_configs_differ_in_the_head_alone():
    ours = load('ota_r50_fpn_1x.py')
    for name in COMPARED:
        other = load(name)
        for cfg in (ours, other):
            for part in ('type', 'bbox_head', 'train_cfg'):
                cfg.model.pop(part, None)
        assert other.to_dict() == ours.to_dict()


@pytest.mark.parametrize('name', [name for name in NAMES if name != 'ota_r101_fpn_2x.py'])
def test_trains_a_step_and_gives_results(name):
    cfg = small(name)
    cfg.test_cfg.score_thr = 0.
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
    assert all(map(torch.isfinite, torch.tensor(totals))) and totals[0] != totals[1]
    model.eval()
    with torch.no_grad():
        results = model.predict(inputs, samples)
    for result in results:
        found = result.pred_instances
        assert 0 < len(found) <= 100 and found.bboxes.isfinite().all()
        assert found.scores.min() >= 0 and found.scores.max() <= 1
