"""One object, several queries: the plans, and the group of queries that DN-DETR trains with them."""
import numpy as np
import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch, random_samples
from helpers.configs import small_model_cfg
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from scipy.optimize import linear_sum_assignment

from mmdet_setdet.models import HungarianAssigner, SinkhornQueryAssigner
from mmdet_setdet.models.ground_truths import GroundTruths

SIZES = [(120, 128), (96, 160), (112, 144)]
MATCH_COSTS = small_model_cfg('dn_detr_r50_50e.py').train_cfg.assigner.match_costs


def random_batch(counts, queries=40, layers=2):
    samples = random_samples(SIZES[:len(counts)], (128, 160), counts, num_classes=9)
    gts = GroundTruths.from_samples(samples)
    logits, boxes = torch.randn(layers, len(counts), queries, 9), torch.rand(layers, len(counts), queries, 4) / 2 + 0.2
    return logits, boxes, gts


def takers(plan, logits, gts):
    """Queries of each object: {(layer, image, object): [query]}."""
    _, images, queries, _ = logits.shape
    found = {}
    for pred, gt, layer in zip(plan.pred.tolist(), plan.gt.tolist(), plan.layer.tolist()):
        problem, query = divmod(pred, queries)
        image, gt = divmod(gt, gts.labels.shape[1])
        assert divmod(problem, images) == (layer, image) and gt < gts.counts[image]
        found.setdefault((layer, image, gt), []).append(query)
    return found


def test_repeated_objects_are_matched_as_often():
    logits, boxes, gts = random_batch((3, 0, 7))
    assigner = HungarianAssigner(MATCH_COSTS, units=4)
    found, costs = takers(assigner.match(logits, boxes, gts), logits, gts), assigner.costs(logits, boxes, gts)
    assert len(found) == 2 * 10 and all(len(queries) == 4 for queries in found.values())
    for layer in range(2):
        repeated = np.repeat(costs[layer, 2].T.numpy(), 4, 0)
        cheapest = repeated[linear_sum_assignment(repeated)].sum()
        ours = sum(costs[layer, 2, queries, gt].sum() for (found_layer, image, gt), queries in found.items()
                   if (found_layer, image) == (layer, 2))
        assert ours == pytest.approx(cheapest, rel=1e-5)


def test_more_repetitions_than_queries_use_all_queries():
    logits, boxes, gts = random_batch((7, ), queries=10)
    plan = HungarianAssigner(MATCH_COSTS, units=6).match(logits, boxes, gts)
    assert plan.num_pairs.tolist() == [10, 10]


def test_one_unit_each_is_the_hungarian_matching():
    logits, boxes, gts = random_batch((3, 0, 7))
    exact = takers(HungarianAssigner(MATCH_COSTS).match(logits, boxes, gts), logits, gts)
    transport = SinkhornQueryAssigner(MATCH_COSTS, k=1, eps=0.005, iterations=3000).match(logits, boxes, gts)
    assert takers(transport, logits, gts) == exact


def test_k_follows_the_overlaps():
    logits, _, gts = random_batch((3, 2))
    boxes = gts.boxes.repeat_interleave(14, 1)[None, :, :40].expand(2, -1, -1, -1).clone()
    boxes[..., :2] += torch.rand_like(boxes[..., :2]) * boxes[..., 2:] * 0.2
    ious = bbox_overlaps(bbox_cxcywh_to_xyxy(gts.boxes).expand(2, -1, -1, -1), bbox_cxcywh_to_xyxy(boxes))
    k = ious.topk(20).values.sum(-1).floor()
    found = takers(SinkhornQueryAssigner(MATCH_COSTS, eps=0.02, iterations=500).match(logits, boxes, gts), logits, gts)
    assert len(found) == 2 * 5
    for (layer, image, gt), queries in found.items():
        assert k[layer, image, gt] > 3 and abs(len(queries) - k[layer, image, gt]) <= 2


def test_a_batch_equals_its_images():
    logits, boxes, gts = random_batch((3, 0, 7))
    assigner = SinkhornQueryAssigner(MATCH_COSTS)
    together = takers(assigner.match(logits, boxes, gts), logits, gts)
    for image, count in enumerate(gts.counts):
        alone = GroundTruths(gts.labels[image:image + 1, :count], gts.boxes[image:image + 1, :count], [count], [{}])
        part = logits[:, image:image + 1]
        found = takers(assigner.match(part, boxes[:, image:image + 1], alone), part, alone)
        assert found == {(layer, 0, gt): queries for (layer, i, gt), queries in together.items() if i == image}


@pytest.mark.parametrize('assigner', [HungarianAssigner(MATCH_COSTS, units=3), SinkhornQueryAssigner(MATCH_COSTS)],
                         ids=lambda assigner: type(assigner).__name__)
def test_extremes(assigner):
    logits, boxes, gts = random_batch((0, 0))
    assert assigner.match(logits, boxes, gts).num_pairs.tolist() == [0, 0]
    logits, boxes, gts = random_batch((30, 1), queries=8)  # more objects than queries
    plan = assigner.match(logits, boxes, gts)
    assert len(set(plan.pred.tolist())) == len(plan.pred) and plan.num_pairs.min() > 0
    logits, boxes, gts = random_batch((3, 2))
    logits[0, 0, :5], logits[1, 1, 7] = float('nan'), float('inf')
    found = takers(assigner.match(logits, boxes, gts), logits, gts)
    assert len(found) == 2 * 5
    assert not any(set(queries) & set(range(5)) for (layer, image, _), queries in found.items() if not layer + image)


@pytest.mark.parametrize('options', [dict(k=0), dict(top_q=0), dict(iterations=0), dict(eps=0.)], ids=str)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SinkhornQueryAssigner(MATCH_COSTS, **options)
    with pytest.raises(ValueError, match='units=0'):
        HungarianAssigner(MATCH_COSTS, units=0)


GROUP = dict(num_queries=30)


def model(one_to_many=GROUP, **changes):
    cfg = small_model_cfg('dn_detr_r50_50e.py', one_to_many=one_to_many, **changes)
    return perturb_weights(MODELS.build(cfg)).train()


@pytest.mark.parametrize('denoising', [{}, dict(denoising=None)], ids=['denoising', 'alone'])
def test_the_group_sees_no_other_and_is_seen_by_none(denoising):
    detr = model(**denoising)
    inputs, samples = ragged_batch()
    gts = GroundTruths.from_samples(samples)
    with torch.no_grad():
        encoder_inputs, memory_inputs = detr.eval().pre_transformer(detr.extract_feat(inputs), samples)
        memory = detr.forward_encoder(**encoder_inputs)
        queries = detr.train().pre_decoder(memory, gts)
        mask = queries.pop('self_attn_mask')
        assert queries.pop('one_to_many') is detr.one_to_many
        queries.pop('denoising')
        detr.eval()
        own = range(len(mask) - 30, len(mask))
        for where in (own[:5], range(own[0] - 20, own[0] - 10)):
            moved = {key: value.clone() for key, value in queries.items()}
            for value in moved.values():
                value[:, list(where)] += 0.5
            before, after = (
                detr.forward_decoder(memory=memory, self_attn_mask=mask, **q, **memory_inputs)['hidden_states']
                for q in (queries, moved))
            changed = set(((before - after).abs().amax((0, 1, 3)) > 1e-5).nonzero().flatten().tolist())
            # Matching queries are seen by themselves and by those of denoising.
            assert changed == (set(own) if where[0] in own else set(range(own[0])))


@pytest.mark.parametrize('counts', [(3, 0, 7), (0, 0, 0)], ids=str)
@pytest.mark.parametrize('assigner', [None, dict(type='mmdet_setdet.HungarianAssigner', units=6)],
                         ids=['ot', 'hungarian'])
def test_it_trains_every_parameter(counts, assigner):
    detr = model(dict(num_queries=30, assigner=assigner))
    inputs, samples = ragged_batch(counts)
    losses = detr.loss(inputs, samples)
    assert losses['loss_one_to_many'].isfinite() and losses['loss_one_to_many'] > 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detr.parameters() if p.requires_grad)


def test_the_other_losses_and_the_results_do_not_know_of_it():
    with_group, without = model(denoising=None), model(None, denoising=None)
    result = without.load_state_dict(with_group.state_dict(), strict=False)
    assert result.unexpected_keys == ['one_to_many.query_embedding.weight'] and not result.missing_keys
    inputs, samples = ragged_batch()
    for detr in (with_group, without):
        for module in detr.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.
    expected, got = without.loss(inputs, samples), with_group.loss(inputs, samples)
    assert set(got) - set(expected) == {'loss_one_to_many'}
    for name, loss in expected.items():
        torch.testing.assert_close(got[name], loss, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(*(m.eval()(inputs, samples, mode='tensor') for m in (with_group, without)))


def test_its_weight_weighs_its_loss():
    inputs, samples = ragged_batch()
    light, heavy = model(dict(num_queries=30, loss_weight=0.5)), model(dict(num_queries=30, loss_weight=2.))
    heavy.load_state_dict(light.state_dict())
    losses = []
    for detr in (light, heavy):
        torch.manual_seed(0)
        losses.append(detr.loss(inputs, samples)['loss_one_to_many'])
    torch.testing.assert_close(losses[1], 4 * losses[0])


def test_it_pays_the_costs_of_the_models_matching():
    costs = [dict(type='FocalLossCost', weight=3.), dict(type='IoUCost', iou_mode='iou', weight=0.5)]
    detr = model(**{'train_cfg.assigner.match_costs': costs})
    assert [cost.weight for cost in detr.one_to_many.assigner.match_costs] == [3., 0.5]


def test_a_model_that_cannot_train_has_no_group():
    assert model(train_cfg=None).one_to_many is None


def test_a_group_without_queries_is_refused():
    with pytest.raises(ValueError, match='one_to_many=None'):
        model(dict(num_queries=0))
