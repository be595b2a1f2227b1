"""Configs of mmdet's models with denoising: each builds, trains a step and predicts."""

import pytest
import torch
from helpers.batches import ragged_batch
from helpers.configs import CONFIGS
from helpers.masks import add_masks
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config

NAMES = (
    'dn_faster_rcnn_r50_1x',
    'dn_mask_rcnn_r50_1x',
    'dn_mask2former_r50_50e',
)
SMALL = (
    'quickstart/dn_faster_rcnn_r18_shapes',
    'quickstart/dn_mask_rcnn_r18_shapes',
    'quickstart/dn_mask2former_r18_shapes',
)


def denoising_of(model):
    """The options of a model's config."""
    return model.get('roi_head', model.get('panoptic_head')).denoising


@pytest.mark.parametrize('name', NAMES)
def test_published_sizes_build(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert cfg.default_scope == 'mmdet'
    assert cfg.custom_imports.imports == ['mmdet_setdet']
    assert cfg.runner_type == 'CheckingRunner'
    assert DATASETS.get(cfg.train_dataloader.dataset.type)
    assert cfg.model.backbone.init_cfg.checkpoint.startswith('https://')
    options = denoising_of(cfg.model)
    assert (options.num_groups, options.box_noise_scale) == (5, 0.4)
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    head = getattr(model, 'roi_head', None) or model.panoptic_head
    assert head.denoising.num_groups == 5


@pytest.mark.parametrize('name', SMALL)
def test_trains_a_step_and_predicts(name):
    model = MODELS.build(Config.fromfile(CONFIGS / f'{name}.py').model)
    model.init_weights()
    inputs, samples = ragged_batch()
    for sample in add_masks(samples):
        sample.gt_instances.labels %= 6
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    losses, _ = model.parse_losses(model.train().loss(inputs, samples))
    losses.backward()
    optimizer.step()
    assert all(p.isfinite().all() for p in model.parameters())
    results = model.eval().predict(inputs, samples)
    assert len(results) == 3
    assert all(result.pred_instances.bboxes.isfinite().all() for result in results)
