"""DAB-DETR's encoder and decoder: how they start, and half precision."""

import pytest
import torch
from helpers.configs import small_model_cfg

from mmdet_setdet.models.layers import DABDecoder, DABEncoder


@torch.no_grad()
def test_positions_may_start_unscaled():
    cfg = small_model_cfg('dn_detr_r50_50e.py')
    for layers in (
        DABEncoder(**cfg.encoder, unit_scale=True),
        DABDecoder(**cfg.decoder, local_init=True),
    ):
        layers.init_weights()
        scale = layers.query_scale(torch.randn(2, 3, 256))
        torch.testing.assert_close(scale, torch.ones(2, 3, 256))


@pytest.mark.parametrize('logit', [-5.0, -13.0, -200.0])
def test_anchors_without_a_width_stay_finite_in_float16(logit):
    decoder = DABDecoder(**small_model_cfg('dn_detr_r50_50e.py').decoder)
    decoder.init_weights()
    anchors = torch.zeros(1, 3, 4)
    anchors[:, 1, 2] = logit
    anchors.requires_grad_()
    branch = torch.nn.Linear(256, 4)
    with torch.autocast('cpu', torch.float16):
        states, boxes = decoder(
            query=torch.randn(1, 3, 256),
            anchors=anchors,
            memory=torch.randn(1, 6, 256),
            memory_pos=torch.randn(1, 6, 256),
            box_branches=[branch] * 2,
        )
    assert states.isfinite().all()
    (states.float().mean() + boxes.mean()).backward()
    assert anchors.grad.isfinite().all()
    assert branch.weight.grad.isfinite().all()
