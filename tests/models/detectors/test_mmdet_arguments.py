"""A config of mmdet whose types are prefixed by our scope builds, takes mmdet's weights and trains."""

import copy

import pytest
import torch
from helpers.batches import ragged_batch
from helpers.configs import SMALL, small_channels
from mmdet.registry import MODELS
from mmengine.hub import get_config

from mmdet_setdet.errors import InputError
from mmdet_setdet.models import HungarianAssigner

CONFIGS = {
    'detr': 'detr/detr_r50_8xb2-150e_coco.py',
    'conditional': 'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py',
    'dab': 'dab_detr/dab-detr_r50_8xb2-50e_coco.py',
    'deformable': 'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
    'deformable-refine': 'deformable_detr/deformable-detr-refine_r50_16xb2-50e_coco.py',
    'deformable-two-stage': 'deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py',
    'dino': 'dino/dino-4scale_r50_8xb2-12e_coco.py',
}


IOU = dict(pos_iou_thr=0.5, neg_iou_thr=0.4)


def mmdet_model_cfg(name, **changes):
    cfg = get_config(f'mmdet::{CONFIGS[name]}')
    channels = small_channels(cfg.model)
    changes = {f'model.{key}': value for key, value in changes.items()}
    cfg.merge_from_dict({**SMALL, 'model.neck.in_channels': channels, **changes})
    return cfg.model


def with_our_types(cfg, *parts):
    for part in parts:
        part['type'] = f'mmdet_setdet.{part["type"]}'
    return cfg


@pytest.mark.parametrize('name', CONFIGS)
def test_prefixed_types_are_enough(name):
    cfg = mmdet_model_cfg(name)
    mmdets = MODELS.build(copy.deepcopy(cfg))
    mmdets.init_weights()  # mmdet's level_embed is memory as it was found until then
    if name == 'dino':
        # mmdet 3.5 encodes a coordinate by more numbers than mmdet 3.3, the authors and the published checkpoints.
        cfg.decoder.num_feats = mmdets.decoder.ref_point_head.layers[0].in_features // 4
    model = MODELS.build(with_our_types(cfg, cfg, cfg.bbox_head))
    assert type(model).__module__.startswith('mmdet_setdet.')
    assert type(model.bbox_head.assigner) is HungarianAssigner
    model.load_state_dict(mmdets.state_dict(), strict=True)

    inputs, samples = ragged_batch()
    losses = model.train().loss(inputs, samples)
    assert {'loss_cls', 'loss_bbox', 'loss_iou'} <= losses.keys()
    sum(losses.values()).backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all()
        for p in model.parameters()
        if p.requires_grad
    )
    with torch.no_grad():
        results = model.eval().predict(inputs, samples)
    assert all(result.pred_instances.bboxes.isfinite().all() for result in results)


@pytest.mark.parametrize('value', [True, False])
def test_random_reference_points_are_mmdets_argument(value):
    cfg = mmdet_model_cfg('dab', with_random_refpoints=value)
    model = MODELS.build(with_our_types(cfg, cfg, cfg.bbox_head))
    model.init_weights()
    inputs, samples = ragged_batch()
    sum(model.loss(inputs, samples).values()).backward()
    moves = model.query_embedding.weight.grad[:, :2].any()
    assert bool(moves) is not value


def test_a_head_of_mmdets_under_our_detector_is_refused():
    cfg = mmdet_model_cfg('detr')
    with pytest.raises(InputError, match="model.bbox_head.type='mmdet_setdet.DETRHead'"):
        MODELS.build(with_our_types(cfg, cfg))


def test_an_assigner_that_cannot_match_a_batch_is_refused():
    cfg = mmdet_model_cfg(
        'detr', **{'train_cfg.assigner': dict(_delete_=True, type='MaxIoUAssigner', **IOU)}
    )
    with pytest.raises(InputError, match='MaxIoUAssigner matches one image at a time'):
        MODELS.build(with_our_types(cfg, cfg, cfg.bbox_head))
