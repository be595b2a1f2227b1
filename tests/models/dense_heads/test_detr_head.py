"""DETR's head: what it logs, and what its losses are divided by."""

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch
from helpers.configs import small_model_cfg
from mmdet.registry import MODELS

from mmdet_setdet.models.assignment import Matches
from mmdet_setdet.models.ground_truths import GroundTruths
from mmdet_setdet.runtime.dense import suppress_by_class

TERMS = ('loss_cls', 'loss_bbox', 'loss_iou')


def dn_model(**changes):
    changes = {
        'denoising.label_noise_scale': 0.0,
        'denoising.box_noise_scale': 0.0,
        'one_to_many': dict(num_queries=30),
        **changes,
    }
    return perturb_weights(MODELS.build(small_model_cfg('dn_detr_r50_50e.py', **changes)))


def test_every_term_of_every_layer_is_logged_if_asked_for():
    inputs, samples = ragged_batch()
    with torch.no_grad():
        summed = dn_model().loss(inputs, samples)
        model = dn_model(**{'bbox_head.log_layers': True})
        torch.manual_seed(0)
        every = model.loss(inputs, samples)
    prefixes = ('', 'd0.', 'dn_', 'd0.dn_', 'one_to_many_', 'd0.one_to_many_')
    assert every.keys() == {prefix + term for prefix in prefixes for term in TERMS}
    assert summed.keys() == {*TERMS, 'loss_aux', 'loss_dn', 'loss_one_to_many'}


def test_logged_terms_add_up_to_the_summed_losses():
    inputs, samples = ragged_batch()
    model = dn_model(one_to_many=None)
    with torch.no_grad():
        summed = model.loss(inputs, samples)
        model.bbox_head.log_layers = True
        every = model.loss(inputs, samples)
    for term in TERMS:
        torch.testing.assert_close(every[term], summed[term])
    torch.testing.assert_close(sum(every[f'd0.{term}'] for term in TERMS), summed['loss_aux'])
    denoising = [value for name, value in every.items() if 'dn_' in name]
    torch.testing.assert_close(sum(denoising), summed['loss_dn'])


@pytest.mark.parametrize(
    'config', ['detr_r50_150e.py', 'dab_detr_r50_50e.py'], ids=['softmax', 'sigmoid']
)
def test_invalid_queries_have_no_part_in_the_classification_loss(config):
    head = MODELS.build(small_model_cfg(config)).bbox_head
    gts = GroundTruths.from_samples(ragged_batch((2, 1, 0))[1])
    logits = torch.randn(2, 3, 6, head.cls_out_channels)
    boxes = torch.rand(2, 3, 6, 4)
    matches = Matches.known(gts.counts, 2, 1, 2, logits.device)  # query g with gt g; G = 2
    valid = torch.zeros(3, 6, dtype=torch.bool)
    valid[:, :4] = True

    losses = head.loss_by_layer(logits[:, :, :2], boxes[:, :, :2], gts, matches, gts.total)
    wide = Matches(matches.pred // 2 * 6 + matches.pred % 2, matches.gt, matches.layer, 2)
    masked = torch.zeros(3, 6, dtype=torch.bool)
    masked[:, :2] = True
    same = head.loss_by_layer(logits, boxes, gts, wide, gts.total, masked)
    more = head.loss_by_layer(logits, boxes, gts, wide, gts.total, valid)
    for term in TERMS:
        torch.testing.assert_close(same[term], losses[term])
    assert (more['loss_cls'] - losses['loss_cls']).abs().min() > 1e-3
    torch.testing.assert_close(more['loss_bbox'], losses['loss_bbox'])


@pytest.mark.parametrize('counts', [(3, 0, 7), (0, 0, 0)], ids=str)
@pytest.mark.parametrize(
    'config', ['detr_r50_150e.py', 'dab_detr_r50_50e.py'], ids=['softmax', 'sigmoid']
)
def test_one_process_does_not_care_whether_averages_are_shared(config, counts):
    losses = []
    inputs, samples = ragged_batch(counts)
    for shared in (True, False):
        torch.manual_seed(0)
        model = perturb_weights(
            MODELS.build(small_model_cfg(config, **{'bbox_head.sync_cls_avg_factor': shared}))
        )
        with torch.no_grad():
            losses.append(model.eval().loss(inputs, samples)['loss_cls'])
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize(
    ('config', 'channels', 'expected'),
    [('detr_r50_150e.py', 81, 100), ('dab_detr_r50_50e.py', 80, 300)],
    ids=['softmax', 'sigmoid'],
)
def test_so_many_results_come_back_unless_a_config_says_how_many(config, channels, expected):
    head = MODELS.build({**small_model_cfg(config).bbox_head, 'test_cfg': None})
    boxes, *others = head.best(torch.randn(2, 400, channels), torch.rand(2, 400, 4))
    assert boxes.shape == (2, expected, 4)
    assert all(other.shape == (2, expected) for other in others)


def test_softmax_has_mmdets_weight_of_classes_and_of_no_object():
    changes = {'bbox_head.loss_cls.class_weight': 2.0, 'bbox_head.loss_cls.bg_cls_weight': 0.3}
    head = MODELS.build(small_model_cfg('detr_r50_150e.py', **changes)).bbox_head
    assert head.loss_cls.class_weight == [2.0] * 80 + [0.3]


@pytest.mark.parametrize('rescale', [True, False])
@torch.no_grad()
def test_duplicates_are_left_out_if_asked_for(rescale):
    inputs, samples = ragged_batch()
    model = dn_model(**{'test_cfg.max_per_img': 60, 'bbox_head.num_classes': 3}).eval()
    before = model.predict(inputs, samples, rescale)
    every = [sample.pred_instances for sample in before]
    model.bbox_head.test_cfg['nms'] = dict(type='nms', iou_threshold=0.4)
    found = [sample.pred_instances for sample in model.predict(inputs, samples, rescale)]
    for one, other in zip(every, found):
        expected = one[suppress_by_class(one.bboxes.numpy(), one.labels.numpy(), 0.4)]
        assert 5 < len(expected) < 55
        assert set(other.keys()) == set(one.keys())
        for name, values in expected.items():
            torch.testing.assert_close(other[name], values)
