"""mmdet's own detectors with our assigner in their config: the losses are the same to the last bit."""

import pytest
import torch
from helpers.batches import ragged_batch
from mmdet.registry import MODELS
from mmdet.structures.mask import BitmapMasks
from mmengine.hub import get_config

from mmdet_setdet.models import HungarianAssigner

SMALL = {
    'custom_imports': dict(imports=['mmdet_setdet'], allow_failed_imports=False),
    'model.backbone.depth': 18,
    'model.backbone.init_cfg': None,
}
DEFORMABLE = {
    **SMALL,
    'model.neck.in_channels': [128, 256, 512],
    'model.encoder.num_layers': 1,
    'model.decoder.num_layers': 2,
    'model.num_queries': 30,
}
CONFIGS = {
    'dino/dino-4scale_r50_8xb2-12e_coco.py': {
        **DEFORMABLE,
        'model.dn_cfg.group_cfg.num_dn_queries': 10,
    },
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py': DEFORMABLE,
    'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py': {
        **DEFORMABLE,
        'model.neck.in_channels': [512],
    },
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py': {
        **SMALL,
        'model.panoptic_head.in_channels': [64, 128, 256, 512],
        'model.panoptic_head.num_queries': 20,
        'model.panoptic_head.pixel_decoder.encoder.num_layers': 1,
        'model.panoptic_head.transformer_decoder.num_layers': 2,
        'model.train_cfg.num_points': 200,
    },
}


def losses(name, assigner, inputs, samples):
    cfg = get_config(f'mmdet::{name}')
    cfg.merge_from_dict({**CONFIGS[name], 'model.train_cfg.assigner.type': assigner})
    torch.manual_seed(3)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    return model, model.loss(inputs, [sample.clone() for sample in samples])


@pytest.mark.parametrize('name', CONFIGS)
def test_losses_equal_those_with_mmdets_assigner(name):
    inputs, samples = ragged_batch((3, 0, 7) if 'mask2former' not in name else (3, 1, 4))
    for sample in samples:
        sample.gt_instances.masks = BitmapMasks.random(
            len(sample.gt_instances), *inputs.shape[-2:], rng=0
        )
    expected = losses(name, 'HungarianAssigner', inputs, samples)[1]
    model, got = losses(name, 'mmdet_setdet.HungarianAssigner', inputs, samples)
    head = getattr(model, 'bbox_head', None) or model.panoptic_head
    assert type(head.assigner) is HungarianAssigner
    assert got.keys() == expected.keys()
    assert len(got) > 3
    for key, value in expected.items():
        assert torch.equal(got[key], value), key
    sum(got.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
