"""Our detectors against mmdet's: its state dicts load, and the numbers are the same."""

from unittest import mock

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch
from helpers.configs import SMALL, small_channels, small_model_cfg
from mmdet.registry import MODELS
from mmengine.hub import get_config

from mmdet_setdet.models.ground_truths import GroundTruths

MMDET_CONFIG = {
    'detr_r50_150e.py': 'mmdet::detr/detr_r50_8xb2-150e_coco.py',
    'dn_conditional_detr_r50_50e.py': 'mmdet::conditional_detr/conditional-detr_r50_8xb2-50e_coco.py',
    'dn_plain_deformable_detr_r50_50e.py': 'mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
    'dab_detr_r50_50e.py': 'mmdet::dab_detr/dab-detr_r50_8xb2-50e_coco.py',
}
# Those whose losses have more parts than the decoder's.
TWO_STAGE = {
    'deformable_detr_two_stage_r50_50e.py': 'mmdet::deformable_detr/'
    'deformable-detr-refine-twostage_r50_16xb2-50e_coco.py',
    'dino_r50_4scale_12e.py': 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
}

# Options that select mmdet's arithmetic where it differs from the authors'; mmdet's models have no denoising.
ARITHMETIC = {
    'dab_detr_r50_50e.py': {'decoder.eps': 1e-5},
    'dn_plain_deformable_detr_r50_50e.py': {'denoising': None},
    'dn_conditional_detr_r50_50e.py': {'bbox_head.eps': 1e-5, 'denoising': None},
    'dino_r50_4scale_12e.py': {'bbox_head.eps': 1e-5},
}
# 15 noised objects per image, for two groups of the seven in an image.
FEW_DENOISED = {'model.dn_cfg.group_cfg.num_dn_queries': 15}


def pair(name, **changes):
    """Return mmdet's model and ours with the same random weights, without dropout and with mmdet's arithmetic."""
    cfg = get_config({**MMDET_CONFIG, **TWO_STAGE}[name])
    channels = small_channels(cfg.model)
    cfg.merge_from_dict({**SMALL, 'model.neck.in_channels': channels, **changes})
    theirs = MODELS.build(cfg.model)
    theirs.init_weights()
    perturb_weights(theirs, seed=3, box_gain=20.0)
    changes |= ARITHMETIC.get(name, {})
    our_changes = {key.removeprefix('model.'): value for key, value in changes.items()}
    if 'dino' in name:
        # Numbers per coordinate, of which mmdet 3.5 has twice as many as mmdet 3.3 and the authors.
        position_head = theirs.decoder.ref_point_head.layers[0]
        our_changes['decoder.num_feats'] = position_head.in_features // 4
    ours = MODELS.build(small_model_cfg(name, **our_changes))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs.eval(), ours.eval()


def clones(samples):
    return [sample.clone() for sample in samples]


@pytest.mark.parametrize('name', [*MMDET_CONFIG, *TWO_STAGE])
def test_outputs_equal_mmdets(name):
    mmdet_model, model = pair(name)
    inputs, samples = ragged_batch()
    with torch.no_grad():
        expected = mmdet_model(inputs, samples, mode='tensor')
        actual = model(inputs, samples, mode='tensor')
    expected_boxes = expected[1].flatten(0, 2)
    assert expected_boxes.std(0).min() > 1e-2, 'boxes that are all equal would prove nothing'
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('name', MMDET_CONFIG)
def test_losses_equal_mmdets(name):
    mmdet_model, model = pair(name)
    # In evaluation mmdet's Deformable DETR gives its head too few arguments. Its parts stay in evaluation.
    mmdet_model.training = True
    inputs, samples = ragged_batch()
    with torch.no_grad():
        expected = mmdet_model.loss(inputs, samples)
        logits, boxes = model(inputs, samples, mode='tensor')
        actual = model.bbox_head.matching_losses(logits, boxes, GroundTruths.from_samples(samples))
    for term, values in actual.items():
        last = len(values) - 1
        for layer, value in enumerate(values):
            key = term if layer == last else f'd{layer}.{term}'
            torch.testing.assert_close(
                value, expected[key].squeeze(), atol=1e-4, rtol=1e-4, msg=key
            )


@pytest.mark.parametrize('name', MMDET_CONFIG)
def test_results_equal_mmdets(name):
    mmdet_model, model = pair(name, **{'model.test_cfg.max_per_img': 15})
    inputs, samples = ragged_batch()
    for sample, scale in zip(samples, (2.0, 0.5, 1.0)):
        sample.set_metainfo(dict(scale_factor=(scale, scale * 0.9)))
    with torch.no_grad():
        expected_samples = mmdet_model.predict(inputs, clones(samples))
        actual_samples = model.predict(inputs, clones(samples))
    for actual_sample, expected_sample in zip(actual_samples, expected_samples):
        actual = actual_sample.pred_instances
        expected = expected_sample.pred_instances
        torch.testing.assert_close(actual.scores, expected.scores, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(actual.bboxes, expected.bboxes, atol=1e-2, rtol=1e-4)
        assert (actual.labels == expected.labels).float().mean() > 0.99


@pytest.mark.parametrize('drawn', [0.3, 0.1], ids=['labels stay', 'labels are replaced'])
@pytest.mark.parametrize('name', TWO_STAGE)
def test_losses_and_gradients_of_two_stages_equal_mmdets(name, drawn):
    """All terms of all layers, of proposals and of denoising, whose random numbers are one and the same number."""
    if drawn == 0.1 and 'dino' not in name:
        pytest.skip('no labels are noised')
    changes = FEW_DENOISED if 'dino' in name else {}
    models = pair(name, **changes)
    models[1].bbox_head.log_layers = True
    inputs, samples = ragged_batch()

    def constant(x, *args, dtype=None, **kwargs):
        return torch.full_like(x, drawn, dtype=dtype)

    def ones(x, *args, dtype=None, **kwargs):
        return torch.ones_like(x, dtype=dtype)

    losses, gradients = [], []
    with mock.patch('torch.rand_like', constant), mock.patch('torch.randint_like', ones):
        for model in models:
            model.training = True  # and its parts stay in evaluation, without dropout
            losses.append(model.loss(inputs, clones(samples)))
            sum(losses[-1].values()).backward()
            trained = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
            gradients.append(trained)
    expected, actual = losses
    assert actual.keys() == expected.keys()
    assert {'enc_loss_cls', 'enc_loss_bbox', 'enc_loss_iou'} <= actual.keys()
    assert ('d0.dn_loss_cls' in actual) == ('dino' in name)
    for term, value in expected.items():
        torch.testing.assert_close(actual[term], value.squeeze(), atol=1e-4, rtol=1e-4, msg=term)
    expected, actual = gradients
    # The biases that mmdet's neck has not.
    assert {key for key in actual if key not in expected} <= biases_of_neck(actual)
    for key, value in expected.items():
        if key.startswith('backbone'):  # compared by itself, in test_resnet.py
            continue
        # A rectifier whose input lies within rounding of zero passes an entry on one side and not on the other.
        assert (actual[key] - value).norm() <= 1e-2 * value.norm() + 1e-6, key


def biases_of_neck(names):
    return {name for name in names if name.startswith('neck.') and name.endswith('conv.bias')}


def test_patterns_equal_mmdets():
    mmdet_model, model = pair('dab_detr_r50_50e.py', **{'model.num_patterns': 3})
    inputs, samples = ragged_batch()
    with torch.no_grad():
        actual = model(inputs, samples, mode='tensor')
        expected = mmdet_model(inputs, samples, mode='tensor')
    for actual_values in actual:
        assert actual_values.shape[2] == 60
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_refinement_equals_mmdets():
    mmdet_model, model = pair(
        'dn_plain_deformable_detr_r50_50e.py', **{'model.with_box_refine': True}
    )
    inputs, samples = ragged_batch()
    with torch.no_grad():
        logits, boxes = model(inputs, samples, mode='tensor')
        expected = mmdet_model(inputs, samples, mode='tensor')
    assert (boxes[0] - boxes[1]).abs().max() > 0.01, (
        'boxes that are not refined would prove nothing'
    )
    torch.testing.assert_close((logits, boxes), expected, atol=1e-5, rtol=1e-5)
