"""Ours against mmdet's DETR and DABDETR: its state dicts load, and the numbers are the same."""
import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch
from helpers.configs import SMALL, small_model_cfg
from mmdet.registry import MODELS
from mmengine.hub import get_config

from mmdet_setdet.models.ground_truths import GroundTruths

MMDET_CONFIG = {
    'detr_r50_150e.py': 'mmdet::detr/detr_r50_8xb2-150e_coco.py',
    'dn_conditional_detr_r50_50e.py': 'mmdet::conditional_detr/conditional-detr_r50_8xb2-50e_coco.py',
    'dn_plain_deformable_detr_r50_50e.py': 'mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
    'dab_detr_r50_50e.py': 'mmdet::dab_detr/dab-detr_r50_8xb2-50e_coco.py',
}

# Where the authors' arithmetic differs from mmdet's; and denoising, which mmdet's models do not have.
ARITHMETIC = {
    'dab_detr_r50_50e.py': {'decoder.eps': 1e-5},
    'dn_plain_deformable_detr_r50_50e.py': {'denoising': None},
    'dn_conditional_detr_r50_50e.py': {'bbox_head.eps': 1e-5, 'denoising': None},
}


def pair(name, **changes):
    """mmdet's model and ours with the same random weights, both without dropout; mmdet's arithmetic in ours."""
    cfg = get_config(MMDET_CONFIG[name])
    channels = [count // 4 for count in cfg.model.neck.in_channels]
    cfg.merge_from_dict({**SMALL, 'model.neck.in_channels': channels, **changes})
    theirs = MODELS.build(cfg.model)
    theirs.init_weights()
    perturb_weights(theirs, box_gain=20.)
    changes |= ARITHMETIC.get(name, {})
    ours = MODELS.build(small_model_cfg(name, **{key.replace('model.', ''): value for key, value in changes.items()}))
    result = ours.load_state_dict(theirs.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    return theirs.eval(), ours.eval()


@pytest.mark.parametrize('name', MMDET_CONFIG)
def test_outputs_equal_mmdets(name):
    theirs, ours = pair(name)
    inputs, samples = ragged_batch()
    with torch.no_grad():
        expected, got = theirs(inputs, samples, mode='tensor'), ours(inputs, samples, mode='tensor')
    assert expected[1].flatten(0, 2).std(0).min() > 1e-2, 'boxes that are all equal would prove nothing'
    for a, b in zip(got, expected):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('name', MMDET_CONFIG)
def test_losses_equal_mmdets(name):
    theirs, ours = pair(name)
    theirs.training = True  # else their Deformable DETR gives its head too little; its parts stay in evaluation
    inputs, samples = ragged_batch()
    with torch.no_grad():
        expected = theirs.loss(inputs, samples)
        got = ours.bbox_head.loss_by_layer(*ours(inputs, samples, mode='tensor'), GroundTruths.from_samples(samples))
    for term, values in got.items():
        for layer, value in enumerate(values):
            key = term if layer == len(values) - 1 else f'd{layer}.{term}'
            torch.testing.assert_close(value, expected[key].squeeze(), atol=1e-4, rtol=1e-4, msg=key)


@pytest.mark.parametrize('name', MMDET_CONFIG)
def test_results_equal_mmdets(name):
    theirs, ours = pair(name, **{'model.test_cfg.max_per_img': 15})
    inputs, samples = ragged_batch()
    for sample, scale in zip(samples, (2., 0.5, 1.)):
        sample.set_metainfo(dict(scale_factor=(scale, scale * 0.9)))
    with torch.no_grad():
        expected = [sample.pred_instances for sample in theirs.predict(inputs, [s.clone() for s in samples])]
        got = [sample.pred_instances for sample in ours.predict(inputs, [s.clone() for s in samples])]
    for a, b in zip(got, expected):
        torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(a.bboxes, b.bboxes, atol=1e-2, rtol=1e-4)
        assert (a.labels == b.labels).float().mean() > 0.99


def test_patterns_equal_mmdets():
    theirs, ours = pair('dab_detr_r50_50e.py', **{'model.num_patterns': 3})
    inputs, samples = ragged_batch()
    with torch.no_grad():
        for a, b in zip(ours(inputs, samples, mode='tensor'), theirs(inputs, samples, mode='tensor')):
            assert a.shape[2] == 60
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_refinement_equals_mmdets():
    theirs, ours = pair('dn_plain_deformable_detr_r50_50e.py', **{'model.with_box_refine': True})
    inputs, samples = ragged_batch()
    with torch.no_grad():
        logits, boxes = ours(inputs, samples, mode='tensor')
        expected = theirs(inputs, samples, mode='tensor')
    assert (boxes[0] - boxes[1]).abs().max() > 0.01
    for a, b in zip((logits, boxes), expected):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
