"""The page on denoising shows it on mmdet's own Conditional DETR: run the page's two blocks as they stand."""

import contextlib
import sys

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch
from helpers.configs import REPOSITORY, SMALL
from helpers.pages import python_blocks
from mmdet.registry import MODELS
from mmengine.config import Config

PAGE = (REPOSITORY / 'docs/denoising.md').read_text().split('## On a detector that is not ours')[1]

# The beginnings of the names of the parameters that the page adds.
OF_DENOISING = ('denoising', 'box_pos_head')


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    """The config of the page, with the module of the page beside it."""
    folder = tmp_path_factory.mktemp('page')
    module, config = python_blocks(PAGE)
    (folder / 'dn_conditional.py').write_text(module)
    (folder / 'config.py').write_text(config)
    sys.path.insert(0, str(folder))
    cfg = Config.fromfile(folder / 'config.py')
    yield cfg
    sys.path.remove(str(folder))
    del sys.modules['dn_conditional'], MODELS.module_dict['DNConditionalDETR']


@pytest.fixture
def model(cfg):
    cfg = cfg.copy()
    cfg.merge_from_dict(SMALL)
    return perturb_weights(MODELS.build(cfg.model))


@pytest.mark.parametrize('counts', [(3, 0, 7), (0, 0, 0)], ids=str)
def test_it_trains(model, counts):
    has_gts = sum(counts) > 0
    inputs, samples = ragged_batch(counts)
    losses = model.train().loss(inputs, samples)
    assert {'loss_cls', 'loss_bbox', 'loss_iou', 'd0.loss_cls', 'loss_dn'} <= losses.keys()
    assert all(loss.isfinite() for loss in losses.values())
    assert (losses['loss_dn'] > 0) == has_gts
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
    reached = [
        gradient.any() for name, gradient in gradients.items() if name.startswith(OF_DENOISING)
    ]
    assert len(reached) == 5
    assert all(reached) == has_gts


@torch.no_grad()
def test_matching_does_not_see_the_noise(model, monkeypatch):
    model.eval()
    inputs, samples = ragged_batch()

    def change_with_noise():
        """Return by how much each term of the loss changes from one draw of the noise to the next."""
        first = model.loss(inputs, samples)
        second = model.loss(inputs, samples)
        return {name: abs(first[name] - second[name]) for name in first}

    changes = change_with_noise()
    assert changes.pop('loss_dn') > 1e-3
    assert max(changes.values()) < 1e-4
    page = sys.modules['dn_conditional']
    monkeypatch.setattr(
        page, 'masked_self_attention', lambda decoder, mask: contextlib.nullcontext()
    )
    changes = change_with_noise()
    assert changes['loss_cls'] > 1e-3, 'without the mask matching would see the noise'


@torch.no_grad()
def test_results_are_those_of_mmdets_model(cfg, model):
    cfg = cfg.copy()
    cfg.merge_from_dict({**SMALL, 'model.type': 'ConditionalDETR'})
    del cfg.model.denoising
    mmdet_model = MODELS.build(cfg.model)
    result = mmdet_model.load_state_dict(model.state_dict(), strict=False)
    assert not result.missing_keys
    assert all(key.startswith(OF_DENOISING) for key in result.unexpected_keys)
    inputs, samples = ragged_batch()
    actual = model.eval().predict(inputs, [sample.clone() for sample in samples])
    expected = mmdet_model.eval().predict(inputs, [sample.clone() for sample in samples])
    for actual_sample, expected_sample in zip(actual, expected):
        assert torch.equal(
            actual_sample.pred_instances.bboxes, expected_sample.pred_instances.bboxes
        )
        assert torch.equal(
            actual_sample.pred_instances.scores, expected_sample.pred_instances.scores
        )
