"""The page on denoising does what it says on mmdet's own Conditional DETR: its two blocks are run as they stand."""
import contextlib
import re
import sys

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch
from helpers.configs import REPOSITORY, SMALL
from mmdet.registry import MODELS
from mmengine.config import Config

PAGE = (REPOSITORY / 'docs/denoising.md').read_text().split('## On a detector that is not ours')[1]


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    """The config of the page, small, with the module of the page beside it."""
    folder = tmp_path_factory.mktemp('page')
    module, config = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
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
    losses = model.train().loss(*ragged_batch(counts))
    assert {'loss_cls', 'loss_bbox', 'loss_iou', 'd0.loss_cls', 'loss_dn'} <= losses.keys()
    assert all(loss.isfinite() for loss in losses.values()) and (losses['loss_dn'] > 0) == (sum(counts) > 0)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    reached = [p.grad.any() for name, p in model.named_parameters() if name.startswith(('denoising', 'box_pos_head'))]
    assert len(reached) == 5 and all(reached) == (sum(counts) > 0)


@torch.no_grad()
def test_matching_does_not_see_the_noise(model, monkeypatch):
    def change():
        """How far the loss of each term moves with the noise."""
        first, second = (model.eval().loss(*ragged_batch()) for _ in range(2))
        return {name: abs(first[name] - second[name]) for name in first}

    moved = change()
    assert moved.pop('loss_dn') > 1e-3 and max(moved.values()) < 1e-4
    page = sys.modules['dn_conditional']
    monkeypatch.setattr(page, 'masked_self_attention', lambda decoder, mask: contextlib.nullcontext())
    moved = change()
    assert moved['loss_cls'] > 1e-3, 'without the mask it would'


@torch.no_grad()
def test_results_are_those_of_mmdets_model(cfg, model):
    cfg = cfg.copy()
    cfg.merge_from_dict({**SMALL, 'model.type': 'ConditionalDETR'})
    del cfg.model.denoising
    theirs = MODELS.build(cfg.model)
    result = theirs.load_state_dict(model.state_dict(), strict=False)
    assert not result.missing_keys
    assert all(key.startswith(('denoising', 'box_pos_head')) for key in result.unexpected_keys)
    inputs, samples = ragged_batch()
    got, expected = (m.eval().predict(inputs, [s.clone() for s in samples]) for m in (model, theirs))
    for a, b in zip(got, expected):
        assert torch.equal(a.pred_instances.bboxes, b.pred_instances.bboxes)
        assert torch.equal(a.pred_instances.scores, b.pred_instances.scores)
