"""The group of queries that DN-DETR trains beside the matching queries, several for each ground truth."""

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch
from helpers.configs import small_model_cfg
from mmdet.registry import MODELS

from mmdet_setdet.models import HungarianAssigner
from mmdet_setdet.models.ground_truths import GroundTruths

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
        encoder_inputs, memory_inputs = detr.eval().pre_transformer(
            detr.extract_feat(inputs), samples
        )
        encoder_outputs = detr.forward_encoder(**encoder_inputs)
        queries, head_inputs = detr.train().pre_decoder(**encoder_outputs, gts=gts)
        memory, mask = queries.pop('memory'), queries.pop('self_attn_mask')
        assert [group.name for group in head_inputs['groups']][-1] == 'one_to_many'
        detr.eval()
        matching = range(len(mask) - 20, len(mask))
        own = range(matching[0] - 30, matching[0])
        others = set(range(len(mask))) - set(own)
        for where in (own[:5], matching[:10]):
            moved = {key: value.clone() for key, value in queries.items()}
            for value in moved.values():
                value[:, list(where)] += 0.5
            before, after = (
                detr.forward_decoder(memory=memory, self_attn_mask=mask, **q, **memory_inputs)[
                    'hidden_states'
                ]
                for q in (queries, moved)
            )
            changed = set(
                ((before - after).abs().amax((0, 1, 3)) > 1e-5).nonzero().flatten().tolist()
            )
            # Matching queries are seen by themselves and by those of denoising.
            assert changed == (set(own) if where[0] in own else others)


@pytest.mark.parametrize('counts', [(3, 0, 7), (0, 0, 0)], ids=str)
@pytest.mark.parametrize(
    'assigner', [None, dict(type='mmdet_setdet.HungarianAssigner', k=6)], ids=['ot', 'hungarian']
)
def test_it_trains_every_parameter(counts, assigner):
    detr = model(dict(num_queries=30, assigner=assigner))
    inputs, samples = ragged_batch(counts)
    losses = detr.loss(inputs, samples)
    assert losses['loss_one_to_many'].isfinite()
    assert losses['loss_one_to_many'] > 0
    sum(losses.values()).backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in detr.parameters() if p.requires_grad
    )


def test_the_other_losses_and_the_results_do_not_know_of_it():
    with_group, without = model(denoising=None), model(None, denoising=None)
    result = without.load_state_dict(with_group.state_dict(), strict=False)
    assert result.unexpected_keys == ['one_to_many.query_embedding.weight']
    assert not result.missing_keys
    inputs, samples = ragged_batch()
    for detr in (with_group, without):
        for module in detr.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    expected, got = without.loss(inputs, samples), with_group.loss(inputs, samples)
    assert set(got) - set(expected) == {'loss_one_to_many'}
    for name, loss in expected.items():
        torch.testing.assert_close(got[name], loss, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(
            *(m.eval()(inputs, samples, mode='tensor') for m in (with_group, without))
        )


def test_its_weight_weighs_its_loss():
    inputs, samples = ragged_batch()
    light, heavy = (
        model(dict(num_queries=30, loss_weight=0.5)),
        model(dict(num_queries=30, loss_weight=2.0)),
    )
    heavy.load_state_dict(light.state_dict())
    losses = []
    for detr in (light, heavy):
        torch.manual_seed(0)
        losses.append(detr.loss(inputs, samples)['loss_one_to_many'])
    torch.testing.assert_close(losses[1], 4 * losses[0])


def test_it_pays_the_costs_of_the_models_matching():
    costs = [
        dict(type='FocalLossCost', weight=3.0),
        dict(type='IoUCost', iou_mode='iou', weight=0.5),
    ]
    detr = model(**{'train_cfg.assigner.match_costs': costs})
    assert [cost.weight for cost in detr.one_to_many.assigner.match_costs] == [3.0, 0.5]


def test_an_assigner_may_be_another_with_costs_of_its_own():
    costs = [dict(type='FocalLossCost', weight=7.0)]
    config = dict(type='mmdet_setdet.HungarianAssigner', k=6, match_costs=costs)
    assigner = model(dict(num_queries=30, assigner=config)).one_to_many.assigner
    assert type(assigner) is HungarianAssigner
    assert assigner.k == 6
    assert [cost.weight for cost in assigner.match_costs] == [7.0]


def test_a_model_that_cannot_train_has_no_group():
    assert model(train_cfg=None).one_to_many is None


def test_a_group_without_queries_is_refused():
    with pytest.raises(ValueError, match='one_to_many=None'):
        model(dict(num_queries=0))
