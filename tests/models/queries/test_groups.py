"""Query groups: the joint mask, groups on every family, and a group of a user's own."""

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch
from helpers.configs import small_model_cfg
from mmdet.registry import MODELS
from torch import nn

from mmdet_setdet.errors import InputError
from mmdet_setdet.models.assignment import Matches
from mmdet_setdet.models.queries import GroupQueries, QueryGroup, joint_mask
from mmdet_setdet.registry import MODELS as OUR_MODELS

FAMILIES = [
    'detr_r50_150e.py',
    'dn_detr_r50_50e.py',
    'dn_deformable_detr_r50_50e.py',
    'dn_conditional_detr_r50_50e.py',
    'dn_plain_deformable_detr_r50_50e.py',
]


def group(blocked, sees_matching):
    return GroupQueries(
        'name', {}, torch.tensor(blocked, dtype=torch.bool), sees_matching, assigner=None
    )


def test_the_joint_mask():
    denoising = group([[0, 1], [1, 0]], sees_matching=True)
    learned = group([[0]], sees_matching=False)
    expected = torch.tensor(
        [[0, 1, 1, 0, 0], [1, 0, 1, 0, 0], [1, 1, 0, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]],
        dtype=torch.bool,
    )
    assert torch.equal(joint_mask([denoising, learned], num_matching=2), expected)


@pytest.mark.parametrize('name', FAMILIES)
def test_one_to_many_is_an_option_of_every_family(name):
    model = perturb_weights(
        MODELS.build(small_model_cfg(name, one_to_many=dict(num_queries=15)))
    ).train()
    inputs, samples = ragged_batch()
    losses = model.loss(inputs, samples)
    assert losses['loss_one_to_many'] > 0
    sum(losses.values()).backward()
    assert model.one_to_many.query_embedding.weight.grad.any()
    assert ('loss_dn' in losses) == (model.denoising is not None)
    with torch.no_grad():
        logits, _ = model.eval()(inputs, samples, mode='tensor')
    assert logits.shape[2] == 20


class LastGtsFirst:
    """An assigner that knows its matches: gt g of each image belongs to query G - 1 - g."""

    def match(self, logits, boxes, gts):
        most = gts.labels.shape[1]
        matches = Matches.known(gts.counts, most, 1, len(logits), logits.device)
        matches.pred = matches.pred // most * most + most - 1 - matches.pred % most
        return matches


@OUR_MODELS.register_module()
class CentreBoxes(QueryGroup):
    """As many learned boxes as the batch's largest number of gts."""

    def __init__(self, query_dims, weight):
        super().__init__()
        self.box = nn.Parameter(torch.zeros(1, query_dims))
        self.weight = weight

    @classmethod
    def from_detector(cls, detector, **options):
        return cls(detector.query_embedding.embedding_dim, **options)

    def queries_for(self, detector, gts):
        num_queries = gts.labels.shape[1]
        return GroupQueries(
            name='centre',
            queries=detector.learned_queries(self.box.expand(num_queries, -1), len(gts.counts)),
            blocked=~torch.eye(num_queries, dtype=torch.bool),
            sees_matching=True,
            assigner=LastGtsFirst(),
            valid=gts.mask.flip(1),
            loss_weight=self.weight,
        )


@pytest.mark.parametrize('name', FAMILIES)
def test_a_group_of_ones_own_trains_by_a_config(name):
    changes = dict(query_groups=dict(mine=dict(type='CentreBoxes', weight=0.5)))
    model = perturb_weights(MODELS.build(small_model_cfg(name, **changes))).train()
    assert 'mine.box' in dict(model.named_parameters())
    assert model.query_groups[-1] is model.mine
    losses = model.loss(*ragged_batch())
    assert losses['loss_centre'] > 0
    losses['loss_centre'].backward()
    assert model.mine.box.grad.any()


def test_the_weight_of_a_group_weighs_its_loss():
    losses = []
    for weight in (0.5, 2.0):
        torch.manual_seed(0)
        changes = dict(
            query_groups=dict(mine=dict(type='CentreBoxes', weight=weight)), denoising=None
        )
        model = perturb_weights(
            MODELS.build(small_model_cfg('dn_detr_r50_50e.py', **changes))
        ).train()
        losses.append(model.loss(*ragged_batch())['loss_centre'])
    torch.testing.assert_close(losses[1], 4 * losses[0])


@pytest.mark.parametrize('config', [{}, dict(type='NoSuchGroup'), dict(type='ResNet')], ids=str)
def test_what_is_no_query_group_is_refused(config):
    with pytest.raises(InputError, match=r'model\.query_groups\.mine: type=.* docs/extending\.md'):
        MODELS.build(small_model_cfg('dn_detr_r50_50e.py', query_groups=dict(mine=config)))
