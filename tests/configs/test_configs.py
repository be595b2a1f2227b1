"""Every config builds; schedules and sizes are the published ones; each model trains a step and predicts."""

import re

import pytest
import torch
from helpers.batches import add_masks, ragged_batch
from helpers.configs import CONFIGS, DENSE, small_model_cfg
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config

from mmdet_setdet.checkpoints.convert import without_memory
from mmdet_setdet.models.layers import FrozenBatchNorm2d

# What users load by name. A name that goes breaks their commands.
PUBLIC = """
detr_r50_150e detr_r50_500e detr_r50_dc5_500e detr_r101_500e detr_r101_dc5_500e
detr_r50_panoptic detr_r50_dc5_panoptic detr_r101_panoptic detr_r50_instance dn_detr_r50_instance
detr_r50_panoptic_boxes detr_r50_dc5_panoptic_boxes detr_r101_panoptic_boxes
dab_detr_r50_50e
anchor_detr_r50_50e anchor_detr_r50_dc5_50e anchor_detr_r101_50e anchor_detr_r101_dc5_50e dn_anchor_detr_r50_50e
dn_faster_rcnn_r50_1x dn_mask_rcnn_r50_1x dn_mask2former_r50_50e
dn_detr_r50_12e dn_detr_r50_50e dn_detr_r50_dc5_50e dn_detr_r101_50e dn_detr_r101_dc5_50e
dn_detr_r50_dc5_3pat_12e dn_detr_r101_dc5_3pat_12e
dn_deformable_detr_encoder_r50_12e dn_deformable_detr_encoder_r50_50e dn_deformable_detr_encoder_r101_12e
dn_deformable_detr_r50_12e dn_deformable_detr_r50_24e dn_deformable_detr_r50_50e
dn_vanilla_detr_r50_50e dn_conditional_detr_r50_50e dn_plain_deformable_detr_r50_50e
deformable_detr_r50_50e deformable_detr_refine_r50_50e deformable_detr_two_stage_r50_50e
dino_r50_4scale_12e dino_r50_4scale_36e dino_r50_5scale_12e dino_swin_l_4scale_12e dn_dino_r50_36e
retinanet_crossformer_s_fpn_1x retinanet_crossformer_b_fpn_1x
mask_rcnn_crossformer_s_fpn_1x mask_rcnn_crossformer_b_fpn_1x
mask_rcnn_crossformer_s_fpn_3x mask_rcnn_crossformer_b_fpn_3x
cascade_mask_rcnn_crossformer_s_fpn_3x
retinanet_crossformerpp_s_fpn_1x retinanet_crossformerpp_b_fpn_1x
mask_rcnn_crossformerpp_s_fpn_1x mask_rcnn_crossformerpp_b_fpn_1x
dn_detr_crossformer_s_50e
crossformer_t_imagenet crossformer_s_imagenet crossformer_b_imagenet crossformer_l_imagenet
crossformerpp_s_imagenet crossformerpp_b_imagenet crossformerpp_l_imagenet crossformerpp_h_imagenet
semantic_fpn_crossformer_s_ade20k semantic_fpn_crossformer_b_ade20k semantic_fpn_crossformer_l_ade20k
semantic_fpn_crossformerpp_s_ade20k semantic_fpn_crossformerpp_b_ade20k
upernet_crossformer_s_ade20k upernet_crossformer_b_ade20k upernet_crossformer_l_ade20k
upernet_crossformerpp_s_ade20k upernet_crossformerpp_b_ade20k
ota_r50_fpn_1x ota_r101_fpn_2x ota_x101_fpn_2x ota_x101_dcn_fpn_2x yolox_s_ota rtmdet_tiny_ota
fcos_r50_fpn_1x atss_r50_fpn_1x
quickstart/dn_detr_r18_shapes quickstart/dab_detr_r18_shapes quickstart/detr_r18_shapes quickstart/ota_r18_shapes
quickstart/simota_r18_shapes quickstart/fcos_r18_shapes quickstart/atss_r18_shapes
quickstart/dn_detr_r18_coco16 quickstart/dab_detr_r18_coco16
quickstart/dn_detr_r18_photos quickstart/dab_detr_r18_photos quickstart/ota_r18_photos
quickstart/dn_deformable_detr_r18_shapes quickstart/dn_deformable_detr_r18_photos
quickstart/detr_r18_panoptic_coco8
quickstart/rtmdet_tiny_ota_coco16 quickstart/yolox_s_ota_coco16
quickstart/retinanet_crossformer_shapes quickstart/retinanet_crossformer_shapes_short
quickstart/retinanet_crossformer_shapes_single_scale quickstart/crossformer_miniature
quickstart/dn_anchor_detr_r18_shapes quickstart/dn_faster_rcnn_r18_shapes quickstart/dn_mask_rcnn_r18_shapes
quickstart/dn_mask2former_r18_shapes
"""
CONFIG_NAMES = PUBLIC.split()


def is_tested_here(path):
    """CrossFormer's configs are in test_crossformer_configs.py and test_segmentation.py, dense detectors in
    test_ota_configs.py, mmdet's detectors with OTAAssigner in test_ota.py, with denoising in test_denoising_configs.py.
    """
    elsewhere = re.search(r'crossformer|_ota|rcnn|mask2former', path.stem)
    return not elsewhere and not DENSE.match(path.stem)


FILES = [*CONFIGS.glob('*.py'), *CONFIGS.glob('quickstart/*.py')]
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in FILES if is_tested_here(path))


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    cfg.model.backbone.init_cfg = None
    return cfg


def build_on_meta(name, **changes):
    """The model of a config without memory; ``changes`` are merged into the model first."""
    cfg = load(name)
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    with without_memory():
        return MODELS.build(cfg.model)


def test_config_names_stay():
    names = {str(path.relative_to(CONFIGS).with_suffix('')) for path in FILES}
    assert names >= set(CONFIG_NAMES)


@pytest.mark.parametrize('name', [name for name in CONFIG_NAMES if name.endswith('coco16')])
def test_sixteen_images_are_tested_as_they_are_validated(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert cfg.test_dataloader.dataset == cfg.val_dataloader.dataset
    assert cfg.test_dataloader.dataset.indices == 16
    assert 'num_images' not in cfg.test_dataloader.dataset, 'an argument of the generated images'


@pytest.mark.parametrize('name', NAMES)
def test_builds_and_names_what_it_needs(name):
    cfg = load(name)
    model = build_on_meta(name)
    assert cfg.default_scope == 'mmdet'
    assert cfg.custom_imports.imports == ['mmdet_setdet']
    assert type(model).__module__.startswith('mmdet_setdet.')
    assert type(model.bbox_head.assigner).__module__.startswith('mmdet_setdet.')
    assert DATASETS.get(cfg.train_dataloader.dataset.type)
    assert model.bbox_head.test_cfg['max_per_img'] > 0


# (epochs, epochs at which the rate falls, images per step, images per process)
SCHEDULES = {
    'detr_r50_150e.py': (150, [100], 16, 2),
    'detr_r50_500e.py': (500, [400], 64, 4),
    'detr_r50_panoptic_boxes.py': (300, [200], 16, 2),
    'detr_r50_panoptic.py': (25, [15], 16, 2),
    'detr_r50_instance.py': (25, [15], 16, 2),
    'dn_detr_r50_instance.py': (25, [15], 16, 2),
    'dab_detr_r50_50e.py': (50, [40], 16, 2),
    'anchor_detr_r50_50e.py': (50, [40], 8, 1),
    'dn_detr_r50_50e.py': (50, [40], 16, 2),
    'dn_detr_r50_12e.py': (12, [11], 16, 2),
    'dn_deformable_detr_r50_50e.py': (50, [40], 16, 2),
    'dn_deformable_detr_r50_24e.py': (24, [20], 16, 2),
    'dn_deformable_detr_r50_12e.py': (12, [11], 16, 2),
    'dn_deformable_detr_encoder_r50_50e.py': (50, [40], 16, 1),
    'dn_deformable_detr_encoder_r50_12e.py': (12, [11], 16, 1),
    'dn_deformable_detr_encoder_r101_12e.py': (12, [11], 16, 1),
    'dino_r50_4scale_12e.py': (12, [11], 16, 2),
    'dino_r50_4scale_36e.py': (36, [30], 16, 2),
    'dino_r50_5scale_12e.py': (12, [11], 16, 1),
    'dn_dino_r50_36e.py': (36, [30], 16, 2),
}


@pytest.mark.parametrize('name', SCHEDULES)
def test_schedule_is_the_published_one(name):
    cfg = load(name)
    epochs, milestones, images_per_step, images_per_process = SCHEDULES[name]
    assert cfg.train_cfg.max_epochs == epochs
    [scheduler] = cfg.param_scheduler
    assert scheduler.end == epochs
    assert scheduler.milestones == milestones
    assert scheduler.gamma == 0.1
    assert scheduler.by_epoch
    assert cfg.auto_scale_lr.base_batch_size == images_per_step
    assert cfg.train_dataloader.batch_size == images_per_process
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW'
    assert optimizer.lr == 1e-4
    assert optimizer.weight_decay == 1e-4
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=0.1, norm_type=2)
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys == dict(backbone=dict(lr_mult=0.1))
    assert cfg.train_dataloader.dataset.filter_cfg.filter_empty_gt is False
    assert cfg.model.backbone.frozen_stages == 1


# What the authors' training scripts print for COCO's 91 ids: parameters that are trained, so without the stem, the
# first stage and the frozen norms.
TRAINED = {'detr_r50_150e.py': 41_302_368}
# Millions in the papers' tables: all parameters, frozen or not, without what the norms hold.
MILLIONS = {
    'detr_r50_150e.py': 41,
    'detr_r50_500e.py': 41,
    'dn_detr_r50_50e.py': 44,
    'dab_detr_r50_50e.py': 44,
    'dn_deformable_detr_r50_50e.py': 47,
    'dn_deformable_detr_encoder_r50_50e.py': 48,
    'deformable_detr_r50_50e.py': 40,
    'deformable_detr_refine_r50_50e.py': 41,
    'deformable_detr_two_stage_r50_50e.py': 41,
    'dino_r50_4scale_12e.py': 47,
}


@pytest.mark.parametrize('name', MILLIONS)
def test_size_is_the_published_one(name):
    model = build_on_meta(name, **{'bbox_head.num_classes': 91})
    norms = [module for module in model.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert len(norms) == 53
    assert not any(list(norm.parameters()) for norm in norms)
    count = sum(p.numel() for p in model.parameters())
    assert MILLIONS[name] in (int(count / 1e6), round(count / 1e6)), (
        count
    )  # some papers cut, others round
    if name in TRAINED:
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert trained == TRAINED[name]


WITH_MASKS = [name for name in NAMES if name.endswith(('panoptic.py', 'instance.py'))]


@pytest.mark.parametrize('name', WITH_MASKS)
def test_mask_head_learns_alone(name):
    model = build_on_meta(name)
    trained = {key for key, p in model.named_parameters() if p.requires_grad}
    assert trained == {f'mask_head.{key}' for key, _ in model.mask_head.named_parameters()}
    num_things = 80 if 'panoptic' in name else None
    assert model.mask_head.num_things == num_things
    assert model.bbox_head.num_classes == (133 if num_things else 80)


WITH_DENOISING = [name for name in NAMES if name.startswith('dn_') and 'dino' not in name]


@pytest.mark.parametrize('name', WITH_DENOISING)
def test_denoising_is_the_published_one(name):
    assert load(name).model.denoising == dict(
        num_groups=5, label_noise_scale=0.2, box_noise_scale=0.4
    )


def test_contrastive_denoising_is_dinos():
    dino = load('dino_r50_4scale_12e.py').model.dn_cfg
    assert (dino.label_noise_scale, dino.box_noise_scale) == (0.5, 1.0)
    assert dino.group_cfg.num_dn_queries == 100
    dn_dino = load('dn_dino_r50_36e.py').model.denoising
    assert (dn_dino.label_noise_scale, dn_dino.box_noise_scale) == (0.5, 1.0)
    assert dn_dino.contrastive
    assert dn_dino.num_queries == 200, 'positive and negative ones'


def test_deformable_detr_learns_at_rates_of_its_own():
    cfg = load('deformable_detr_two_stage_r50_50e.py')
    assert cfg.optim_wrapper.optimizer.lr == 2e-4
    assert cfg.auto_scale_lr.base_batch_size == 32
    slower = ('backbone', 'sampling_offsets', 'reference_points')
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys == {key: dict(lr_mult=0.1) for key in slower}


def test_dab_detr_is_without_denoising():
    assert 'denoising' not in load('dab_detr_r50_50e.py').model


def small(name):
    """The model of a config, small enough to train; those of the quick start are as they are."""
    return load(name).model if name.startswith('quickstart') else small_model_cfg(name)


def distinct_models():
    """Configs whose small models differ. Schedules and the depth of the ResNet change no training step."""
    with_encoder = [name for name in reversed(NAMES) if 'encoder' in load(name).model]
    models = {str(small(name)): name for name in with_encoder}
    return sorted(models.values())


@pytest.mark.parametrize('name', distinct_models())
def test_trains_a_step_and_predicts(name):
    model = MODELS.build(small(name))
    model.init_weights()
    if name.endswith('panoptic.py'):
        # Untrained queries may be sure of nothing that a panoptic map could show: here they are of a thing.
        model.bbox_head.fc_cls.bias.data[0] = 10
    inputs, samples = ragged_batch()
    add_masks(samples)
    for sample in samples:
        sample.gt_instances.labels %= model.bbox_head.num_classes
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-4)
    totals = []
    model.train()
    for _ in range(2):
        total = sum(model.loss(inputs, samples).values())
        totals.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert torch.tensor(totals).isfinite().all()
    assert totals[0] != totals[1]
    model.eval()
    with torch.no_grad():
        results = model.predict(inputs, samples)
    for result in results:
        predicted = result.pred_instances
        assert len(predicted)
        assert predicted.bboxes.isfinite().all()
        assert predicted.scores.min() >= 0
        assert predicted.scores.max() <= 1
