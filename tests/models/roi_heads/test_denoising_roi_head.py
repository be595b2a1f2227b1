"""Noised gts as proposals of Faster R-CNN and Mask R-CNN."""

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch
from helpers.configs import CONFIGS
from helpers.masks import add_masks
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config

from mmdet_setdet.errors import InputError
from mmdet_setdet.models.ground_truths import GroundTruths
from mmdet_setdet.models.roi_heads.denoising_roi_head import NoisedProposals

CONFIG = CONFIGS / 'quickstart/dn_mask_rcnn_r18_shapes.py'


def batch(counts=(3, 0, 6)):
    inputs, samples = ragged_batch(counts)
    for sample in samples:
        sample.gt_instances.labels %= 6
    return inputs, add_masks(samples)


def mask_rcnn(**changes):
    cfg = Config.fromfile(CONFIG).model
    cfg.roi_head.update(changes)
    torch.manual_seed(0)
    return perturb_weights(MODELS.build(cfg))


@pytest.fixture(scope='module')
def gts():
    return GroundTruths.from_samples(batch()[1])


def test_each_gt_becomes_proposals_that_are_assigned_to_it(gts):
    torch.manual_seed(0)
    results = NoisedProposals(num_groups=4, box_noise_scale=0.4)(gts)
    assert [len(result.priors) for result in results] == [12, 0, 24]
    for image, (result, count) in enumerate(zip(results, gts.counts)):
        expected = torch.arange(count).repeat(4)
        assert result.pos_assigned_gt_inds.tolist() == expected.tolist()
        assert result.pos_gt_labels.tolist() == gts.labels[image, expected].tolist()
        assert torch.equal(result.pos_gt_bboxes, gts.bboxes[image, expected])
        assert len(result.neg_priors) == 0
        height, width = gts.metas[image]['img_shape']
        assert (result.priors >= 0).all()
        assert (result.priors <= torch.tensor([width, height, width, height])).all()
        overlaps = bbox_overlaps(result.priors, result.pos_gt_bboxes, is_aligned=True)
        assert (overlaps > 0.2).all()
        assert (overlaps < 0.999).all()


def test_without_noise_proposals_are_the_gts(gts):
    results = NoisedProposals(num_groups=2, box_noise_scale=0)(gts)
    for result in results:
        torch.testing.assert_close(result.priors, result.pos_gt_bboxes, atol=1e-3, rtol=0)


@pytest.mark.parametrize('options', [dict(num_groups=0), dict(box_noise_scale=1.0)], ids=str)
def test_options_out_of_range_are_named(options):
    with pytest.raises(InputError, match='roi_head.denoising needs num_groups >= 1'):
        mask_rcnn(denoising=options)


@pytest.mark.parametrize('counts', [(3, 0, 6), (0, 0, 0)], ids=str)
def test_losses_are_mmdets_and_one_more(counts):
    losses = mask_rcnn().train().loss(*batch(counts))
    without = mask_rcnn(denoising=None).train().loss(*batch(counts))
    added = losses.pop('loss_dn')
    assert losses.keys() == without.keys()
    for name in ('loss_cls', 'loss_bbox', 'loss_mask'):
        torch.testing.assert_close(losses[name], without[name])
    assert (added > 0) == (sum(counts) > 0)


def test_noised_gts_train_boxes_classes_and_masks():
    model = mask_rcnn().train()
    inputs, samples = batch()
    features = model.extract_feat(inputs)
    noised = model.roi_head.denoising(GroundTruths.from_samples(samples))
    model.roi_head.loss_of_noised(features, noised, samples).backward()
    without_gradient = [
        name for name, p in model.roi_head.named_parameters() if p.grad is None or not p.grad.any()
    ]
    assert not without_gradient


def test_a_noised_gt_counts_as_much_as_a_sampled_proposal():
    exact = dict(box_noise_scale=0.0)
    once, twice = (
        mask_rcnn(denoising=dict(exact, num_groups=number)).train().loss(*batch())['loss_dn']
        for number in (1, 2)
    )
    torch.testing.assert_close(twice, 2 * once)
    weighted = mask_rcnn(denoising=dict(exact, num_groups=1, loss_weight=3.0))
    torch.testing.assert_close(weighted.train().loss(*batch())['loss_dn'], 3 * once)


@torch.no_grad()
def test_weights_and_results_are_mmdets():
    model = mask_rcnn().eval()
    cfg = Config.fromfile(CONFIG).model
    cfg.roi_head.type = 'StandardRoIHead'
    del cfg.roi_head['denoising']
    mmdets = MODELS.build(cfg).eval()
    mmdets.load_state_dict(model.state_dict())
    inputs, samples = batch()
    [first, *_] = model.predict(inputs, samples)
    inputs, samples = batch()
    [expected, *_] = mmdets.predict(inputs, samples)
    assert len(first.pred_instances) > 0
    torch.testing.assert_close(first.pred_instances.bboxes, expected.pred_instances.bboxes)
    torch.testing.assert_close(first.pred_instances.scores, expected.pred_instances.scores)
