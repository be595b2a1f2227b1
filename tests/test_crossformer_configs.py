"""CrossFormer under mmdet's detectors and our DN-DETR: the sizes and recipes of its authors; each kind learns."""
import copy
import functools
import re

import pytest
import torch
from batches import ragged_batch
from conftest import CONFIGS, REPOSITORY
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config

from mmdet_setdet.models.backbones import CrossFormer

# Millions of parameters in the tables of arXiv 2108.00154; the authors name none for the others.
SIZES = {
    'retinanet_crossformer_s_fpn_1x': 40.8,
    'retinanet_crossformer_b_fpn_1x': 62.1,
    'mask_rcnn_crossformer_s_fpn_1x': 50.2,
    'mask_rcnn_crossformer_b_fpn_1x': 71.5,
    'mask_rcnn_crossformer_s_fpn_3x': 50.2,
    'mask_rcnn_crossformer_b_fpn_3x': 71.5,
    'cascade_mask_rcnn_crossformer_s_fpn_3x': 88.0,
    'retinanet_crossformerpp_s_fpn_1x': None,
    'retinanet_crossformerpp_b_fpn_1x': None,
    'mask_rcnn_crossformerpp_s_fpn_1x': None,
    'mask_rcnn_crossformerpp_b_fpn_1x': None,
    'dn_detr_crossformer_s_50e': None,
}
SMALL = dict(embed_dims=32, depths=(1, 1, 2, 1))


@functools.cache
def _read(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.model.backbone.init_cfg = None
    return cfg


def load(name):
    return copy.deepcopy(_read(name))


def small(name):
    """The model with a CrossFormer of a third of the width and few proposals."""
    model = load(name).model
    model.backbone.arch = SMALL
    model.neck.in_channels = [32, 64, 128, 256][-len(model.neck.in_channels):]
    if 'rpn_head' in model:
        model.train_cfg.rpn_proposal.max_per_img = 50
        rcnn = model.train_cfg.rcnn
        for stage in rcnn if isinstance(rcnn, list) else [rcnn]:
            stage.sampler.num = 16
        model.test_cfg.rpn.max_per_img = 20
        model.test_cfg.rcnn.score_thr = 0.
    if 'encoder' in model:
        model.encoder.num_layers, model.decoder.num_layers, model.num_queries = 1, 2, 20
    return model


def test_no_config_is_forgotten():
    names = {path.stem for path in CONFIGS.glob('*crossformer*.py')}
    assert {name for name in names if not name.endswith(('_imagenet', '_ade20k'))} == set(SIZES)


@pytest.mark.parametrize('name', SIZES)
def test_builds_with_the_published_size(name):
    cfg = load(name)
    assert cfg.default_scope == 'mmdet' and cfg.runner_type == 'CheckingRunner'
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert type(model.backbone) is CrossFormer
    if SIZES[name]:
        assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == SIZES[name]
    rate = {'small': 0.2, 'base': 0.3}[cfg.model.backbone.arch.removeprefix('plus-')]
    assert model.backbone.layers[-1].blocks[-1].drop_path_rate == pytest.approx(rate)
    data = cfg.train_dataloader.dataset
    assert DATASETS.get(data.type) and all(TRANSFORMS.get(step.type) for step in data.pipeline)
    has_masks = 'mask' in name
    assert data.pipeline[1].get('with_mask', False) == has_masks
    assert ('segm' in cfg.test_evaluator.metric) == has_masks


@pytest.mark.parametrize('name', [name for name in SIZES if name.endswith('x')])
def test_schedule(name):
    cfg, long = load(name), name.endswith('3x')
    warm_up, steps = cfg.param_scheduler
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-4, 0.05 if long else 1e-4)
    assert cfg.train_cfg.max_epochs == steps.end == (36 if long else 12)
    assert steps.milestones == ([27, 33] if long else [8, 11]) and warm_up.end == (1000 if long else 500)
    assert cfg.optim_wrapper.get('paramwise_cfg', {}).get('norm_decay_mult') == (0. if long else None)
    assert cfg.auto_scale_lr.base_batch_size == 16 and cfg.train_dataloader.batch_size == 2
    kinds = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert ('RandomChoice' in kinds) == long
    if not long:
        assert cfg.train_dataloader.dataset.pipeline[2].scale == (1333, 800)


@pytest.mark.parametrize('name', [name for name in SIZES if 'crossformerpp' in name])
def test_plus_has_the_groups_of_its_authors_detectors(name):
    backbone = load(name).model.backbone
    assert backbone.group_sizes == (7, 7, 7, 7) and backbone.intervals == (8, 4, 2, 1)


def test_dn_detr_differs_from_resnets_in_the_backbone_alone():
    ours, theirs = load('dn_detr_crossformer_s_50e'), load('dn_detr_r50_50e')
    for cfg in (ours, theirs):
        del cfg.model['backbone'], cfg.model.neck['in_channels'], cfg.model.data_preprocessor['pad_size_divisor']
    assert ours.to_dict() == theirs.to_dict()


def batch():
    """Three images with boxes and masks, as mmdet's detectors want them."""
    inputs, samples = ragged_batch((3, 1, 4))
    for sample in samples:
        sample.set_metainfo(dict(pad_shape=inputs.shape[-2:]))
        sample.gt_instances.masks = BitmapMasks.random(len(sample.gt_instances), *inputs.shape[-2:], rng=0)
    return inputs, samples


@pytest.mark.parametrize('name', [
    'retinanet_crossformer_s_fpn_1x', 'mask_rcnn_crossformer_s_fpn_1x', 'cascade_mask_rcnn_crossformer_s_fpn_3x',
    'dn_detr_crossformer_s_50e', 'retinanet_crossformerpp_s_fpn_1x'])
def test_trains_a_step_and_gives_results(name):
    model = MODELS.build(small(name))
    model.init_weights()
    inputs, samples = batch()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    model.train()
    totals = []
    for _ in range(2):
        losses = model.loss(inputs, copy.deepcopy(samples))
        total, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert all(map(torch.isfinite, torch.tensor(totals))) and totals[0] != totals[1]
    assert any('mask' in key for key in losses) == ('mask' in name)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert sum(p.grad is not None for p in model.backbone.parameters()) > 20
    model.eval()
    with torch.no_grad():
        results = model.predict(inputs, samples)
    for result, sample in zip(results, samples):
        found = result.pred_instances
        assert len(found) and found.bboxes.isfinite().all() and found.scores.max() <= 1
        if 'mask' in name:
            assert found.masks.shape[1:] == sample.ori_shape


def code_blocks(page):
    return re.findall(r'```python\n(.*?)```', (REPOSITORY / 'docs' / page).read_text(), re.DOTALL)


def test_the_five_lines_of_the_page_turn_mmdets_mask_rcnn_into_crossformer(tmp_path):
    block = next(block for block in code_blocks('crossformer_detection.md') if "'mmdet::" in block)
    assert len([line for line in block.splitlines() if line]) == 5
    (tmp_path / 'mine.py').write_text(block)
    cfg = Config.fromfile(tmp_path / 'mine.py')
    assert cfg.custom_imports.imports == ['mmdet_setdet']
    cfg.model.backbone.init_cfg = None
    cfg.model.train_cfg.rpn_proposal.max_per_img, cfg.model.train_cfg.rcnn.sampler.num = 50, 16
    model = MODELS.build(cfg.model)
    model.init_weights()
    assert type(model).__module__.startswith('mmdet.') and type(model.backbone) is CrossFormer
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-4, weight_decay=1e-4)
    inputs, samples = batch()
    total, _ = model.parse_losses(model.loss(inputs[:1], samples[:1]))
    total.backward()
    assert total.isfinite() and model.backbone.patch_embed.projs[0].weight.grad.abs().sum() > 0
