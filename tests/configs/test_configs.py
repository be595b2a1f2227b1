"""Every config builds; schedules and sizes are the published ones; each model trains a step and gives results."""
import pytest
import torch
from helpers.batches import ragged_batch
from helpers.configs import CONFIGS, DENSE, small_model_cfg
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config

from mmdet_setdet.models.layers import FrozenBatchNorm2d

# Those of CrossFormer, mmdet's and mmseg's models among them, are in test_crossformer_configs.py; dense detectors are
# in test_ota_configs.py, mmdet's models with OTAAssigner in test_ota.py.
FILES = [path for pattern in ('*.py', 'quickstart/*.py') for path in CONFIGS.glob(pattern)
         if 'crossformer' not in path.name and '_ota' not in path.stem and not DENSE.match(path.stem)]
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in FILES)


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    cfg.model.backbone.init_cfg = None
    return cfg


def built_without_memory(name, **changes):
    cfg = load(name)
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    with torch.device('meta'):
        return MODELS.build(cfg.model)


@pytest.mark.parametrize('name', NAMES)
def test_builds_and_names_what_it_needs(name):
    cfg, model = load(name), built_without_memory(name)
    assert cfg.default_scope == 'mmdet' and cfg.custom_imports.imports == ['mmdet_setdet']
    assert type(model).__module__.startswith('mmdet_setdet.')
    assert type(model.bbox_head.assigner).__module__.startswith('mmdet_setdet.')
    assert DATASETS.get(cfg.train_dataloader.dataset.type)
    assert model.bbox_head.test_cfg['max_per_img'] > 0


# (epochs, epochs at which the rate falls, images a step, images a process)
SCHEDULES = {
    'detr_r50_150e.py': (150, [100], 16, 2),
    'detr_r50_500e.py': (500, [400], 64, 4),
    'dab_detr_r50_50e.py': (50, [40], 16, 2),
    'dn_detr_r50_50e.py': (50, [40], 16, 2),
    'dn_detr_r50_12e.py': (12, [11], 16, 2),
    'dn_deformable_detr_r50_50e.py': (50, [40], 16, 2),
    'dn_deformable_detr_r50_24e.py': (24, [20], 16, 2),
    'dn_deformable_detr_r50_12e.py': (12, [11], 16, 2),
    'dn_deformable_detr_encoder_r50_50e.py': (50, [40], 16, 1),
    'dn_deformable_detr_encoder_r50_12e.py': (12, [11], 16, 1),
    'dn_deformable_detr_encoder_r101_12e.py': (12, [11], 16, 1),
}


@pytest.mark.parametrize('name', SCHEDULES)
def test_schedule_is_the_published_one(name):
    cfg, (epochs, milestones, batch, images) = load(name), SCHEDULES[name]
    [scheduler] = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == scheduler.end == epochs
    assert scheduler.milestones == milestones and scheduler.gamma == 0.1 and scheduler.by_epoch
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.train_dataloader.batch_size == images
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-4, 1e-4)
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=0.1, norm_type=2)
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys == dict(backbone=dict(lr_mult=0.1))
    assert cfg.train_dataloader.dataset.filter_cfg.filter_empty_gt is False
    assert cfg.model.backbone.frozen_stages == 1


# What the authors' training scripts print for COCO's 91 ids: parameters that are trained, so without the stem, the
# first stage and the frozen norms.
TRAINED = {'detr_r50_150e.py': 41_302_368}
# Millions in the papers' tables: all parameters, frozen or not, without what the norms hold.
MILLIONS = {
    'detr_r50_150e.py': 41, 'detr_r50_500e.py': 41, 'dn_detr_r50_50e.py': 44, 'dab_detr_r50_50e.py': 44,
    'dn_deformable_detr_r50_50e.py': 47, 'dn_deformable_detr_encoder_r50_50e.py': 48}


@pytest.mark.parametrize('name', MILLIONS)
def test_size_is_the_published_one(name):
    model = built_without_memory(name, **{'bbox_head.num_classes': 91})
    norms = [module for module in model.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert len(norms) == 53 and not any(list(norm.parameters()) for norm in norms)
    count = sum(p.numel() for p in model.parameters())
    assert int(count / 1e6) == MILLIONS[name] or round(count / 1e6) == MILLIONS[name], count
    if name in TRAINED:
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == TRAINED[name]


@pytest.mark.parametrize('name', [name for name in NAMES if name.startswith('dn_')])
def test_denoising_is_the_published_one(name):
    assert load(name).model.denoising == dict(num_groups=5, label_noise_scale=0.2, box_noise_scale=0.4)


def test_dab_detr_is_without_denoising():
    assert 'denoising' not in load('dab_detr_r50_50e.py').model


def small(name):
    return load(name).model if name.startswith('quickstart') else small_model_cfg(name)


def distinct_models():
    """Configs whose small models differ: the schedule, and how deep the ResNet is, make no other training step."""
    models = {str(small(name)): name for name in reversed(NAMES) if 'encoder' in load(name).model}
    return sorted(models.values())


@pytest.mark.parametrize('name', distinct_models())
def test_trains_a_step_and_gives_results(name):
    model = MODELS.build(small(name))
    model.init_weights()
    inputs, samples = ragged_batch()
    for sample in samples:
        sample.gt_instances.labels %= model.bbox_head.num_classes
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    totals = []
    model.train()
    for _ in range(2):
        total = sum(model.loss(inputs, samples).values())
        totals.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert all(map(torch.isfinite, map(torch.tensor, totals))) and totals[0] != totals[1]
    model.eval()
    with torch.no_grad():
        results = model.predict(inputs, samples)
    for result in results:
        assert len(result.pred_instances) and result.pred_instances.bboxes.isfinite().all()
        assert result.pred_instances.scores.min() >= 0 and result.pred_instances.scores.max() <= 1
