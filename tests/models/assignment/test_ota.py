"""OTAAssigner: against the authors' code, against its own definition, in mmdet's heads, and at its limits."""
import numpy as np
import pytest
import torch
from benchmarks import ROWS, Options, measure, transport
from benchmarks.ota_scenes import scene
from golden import ota_cases
from helpers.batches import ragged_batch
from helpers.configs import CONFIGS
from helpers.tiny_detector import tool
from mmdet.models.task_modules.assigners import SimOTAAssigner
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import HorizontalBoxes, bbox_overlaps
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData

from mmdet_setdet.models.assignment import OTAAssigner, exact_transport, ota, sinkhorn

SMALL = dict(image_size=(128, 160), num_classes=6, strides=(8, 16, 32))


def assigned(batch, scores=None, **options):
    return OTAAssigner(**options).assign_batch(
        batch.logits if scores is None else scores, batch.bboxes, batch.priors, batch.objects)


def objects(*boxes, labels=None):
    boxes = torch.tensor(boxes, dtype=torch.float).reshape(-1, 4)
    return InstanceData(bboxes=boxes, labels=torch.tensor(labels or [0] * len(boxes)))


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', lines.append)
    return lines


@pytest.mark.parametrize('case', ota_cases.CASES)
def test_equals_the_authors(case, monkeypatch):
    plans = []
    monkeypatch.setattr(ota, 'sinkhorn', lambda *args: plans.append(sinkhorn(*args)) or plans[-1])
    batch = ota_cases.scene_of(case)
    found = assigned(batch)
    inside = OTAAssigner().center_prior(
        batch.priors, torch.nn.utils.rnn.pad_sequence([gts.bboxes for gts in batch.objects], batch_first=True))
    [plan] = [found.plan for found in plans]
    points = batch.priors[:, :2]
    for image, expected in enumerate(ota_cases.load(case)):
        at = found.gt_inds[image].nonzero()[:, 0]
        assert at.tolist() == expected['at'].tolist()
        assert found.labels[image, at].tolist() == expected['labels'].tolist()
        boxes = found.bboxes[image, at]
        distances = torch.cat([points[at] - boxes[:, :2], boxes[:, 2:] - points[at]], 1)
        np.testing.assert_allclose(distances, expected['distances'], atol=1e-4, rtol=1e-6)
        np.testing.assert_allclose(found.overlaps[image, at], expected['ious'], atol=1e-5)
        count = ota_cases.COUNTS[image]
        assert found.k[image].tolist() == expected['k'].tolist() + [0] * (60 - count)
        if count:
            row = ota_cases.COUNTS.index(count) - 1  # the image without objects is no problem
            columns = inside[image, :count].any(0).cumsum(0) - 1
            gt, pred = torch.from_numpy(expected['plan_pair']).long().T
            np.testing.assert_allclose(plan[row, gt, columns[pred]], expected['plan'], atol=1e-4)


def test_golden_file_says_where_it_comes_from():
    with np.load(ota_cases.FILE) as arrays:
        assert len(str(arrays['revision'])) == 40


@pytest.mark.parametrize('options', [{}, dict(solver='topk'), dict(k=4), dict(nearest=3), dict(center_radius=None)],
                         ids=str)
def test_batch_equals_image_by_image(options):
    batch = scene([5, 0, 9], **SMALL)
    batch.objects[2].bboxes[4] = torch.tensor([33., 33, 34, 35])  # lonely: in a group of its own
    found, assigner = assigned(batch, **options), OTAAssigner(**options)
    for image, gts in enumerate(batch.objects):
        pred = InstanceData(scores=batch.logits[image], bboxes=batch.bboxes[image], priors=batch.priors)
        result = assigner.assign(pred, gts, None)
        assert result.num_gts == len(gts)
        assert torch.equal(result.gt_inds, found.gt_inds[image])
        assert torch.equal(result.labels, found.labels[image])
        torch.testing.assert_close(result.max_overlaps, found.overlaps[image])


def test_result_is_consistent():
    batch = scene([5, 3], **SMALL)
    found = assigned(batch)
    for image, gts in enumerate(batch.objects):
        at = found.gt_inds[image].nonzero()[:, 0]
        gt = found.gt_inds[image, at] - 1
        assert set(gt.tolist()) == set(range(len(gts)))
        assert torch.equal(found.labels[image, at], gts.labels[gt])
        assert torch.equal(found.bboxes[image, at], gts.bboxes[gt])
        ious = bbox_overlaps(batch.bboxes[image, at], gts.bboxes[gt], is_aligned=True)
        torch.testing.assert_close(found.overlaps[image, at], ious)
        assert found.costs[image, at].min() > 0
        background = found.gt_inds[image] == 0
        assert (found.labels[image, background] == -1).all() and not found.overlaps[image, background].any()


def test_costs_are_focal_loss_and_weighted_iou_loss():
    batch = scene([2], **SMALL)
    found = assigned(batch, iou_weight=2., focal_alpha=0.3, focal_gamma=1.5)
    at = found.gt_inds[0].nonzero()[:, 0]
    prob, target = batch.logits[0, at].sigmoid(), torch.nn.functional.one_hot(found.labels[0, at], 6)
    right = torch.where(target > 0, prob, 1 - prob)
    focal = (torch.where(target > 0, 0.3, 0.7) * (1 - right)**1.5 * -right.log()).sum(1)
    torch.testing.assert_close(found.costs[0, at], focal - 2 * found.overlaps[0, at].log(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('form, scores_of', [
    ('logits', lambda logits: logits),
    ('probabilities', torch.sigmoid),
    ('square_roots', lambda logits: logits.sigmoid().sqrt()),
])
def test_score_forms_mean_the_same_in_numbers(form, scores_of):
    batch = scene([5, 3], **SMALL)
    expected = assigned(batch)
    found = assigned(batch, scores_of(batch.logits), score_form=form)
    assert torch.equal(found.gt_inds, expected.gt_inds)
    torch.testing.assert_close(found.costs, expected.costs, atol=1e-4, rtol=1e-4)
    others = {'logits', 'probabilities', 'square_roots'} - {form}
    assert not any(torch.allclose(assigned(batch, scores_of(batch.logits), score_form=other).costs, expected.costs)
                   for other in others), 'the forms would not differ'


def test_converged_at_small_eps_it_is_the_exact_plan():
    batch = scene([3], image_size=(64, 96), num_classes=6, strides=(8, 16), seed=1)
    assigner = OTAAssigner(eps=0.01, iterations=5000, tolerance=1e-3)
    problems = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ota, 'sinkhorn', lambda *args: problems.append(args) or sinkhorn(*args))
        found = assigner.assign_batch(batch.logits, batch.bboxes, batch.priors, batch.objects)
    [costs], [supply], [demand] = problems[0][:3]
    exact = exact_transport(costs, supply, demand)
    assert found.error.max() <= 1e-3
    assert found.gt_inds[0].bincount(minlength=4)[1:].tolist() == found.k[0].tolist()
    got = (found.costs[0].sum() + costs[-1, :-1].sum()).item()
    taken = exact[:-1].sum(0)[:-1] > 0.5
    best = (exact * costs).sum().item() + costs[-1, :-1][taken].sum().item()
    assert got == pytest.approx(best, rel=0.01)


def test_dynamic_k_is_the_sum_of_the_largest_ious():
    batch = scene([4], **SMALL)
    found = assigned(batch, top_q=5)
    inside = OTAAssigner().center_prior(batch.priors, batch.objects[0].bboxes[None])[0]
    ious = bbox_overlaps(batch.objects[0].bboxes, batch.bboxes[0]) * inside
    assert found.k[0].tolist() == ious.topk(5).values.sum(1).int().clamp(min=1).tolist()
    assert assigned(batch, k=3).k.tolist() == [[3] * 4]


def test_top_k_decoding_is_that_of_sim_ota():
    batch = scene([8], **SMALL, seed=5)
    found = assigned(batch, solver='topk')
    inside = OTAAssigner().center_prior(batch.priors, batch.objects[0].bboxes[None])[0]
    some = inside.any(0)
    costs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OTAAssigner, '_cheapest', lambda self, c, usable, k: costs.append(c) or c.argmin(1))
        assigned(batch, solver='topk')
    ious = bbox_overlaps(batch.bboxes[0, some], batch.objects[0].bboxes) * inside[:, some].T
    valid = some.clone()
    _, gt = SimOTAAssigner(candidate_topk=20).dynamic_k_matching(costs[0][0].T, ious, 8, valid)
    expected = torch.zeros_like(found.gt_inds[0])
    expected[valid] = gt + 1
    assert torch.equal(found.gt_inds[0], expected)


def test_center_priors():
    batch = scene([0], image_size=(256, 256), strides=(8, 32), num_classes=2)
    boxes = torch.tensor([[[0., 0, 256, 256], [100, 100, 110, 140]]])
    x, y = batch.priors[:, :2].T

    def taken(**options):
        return OTAAssigner(**options).center_prior(batch.priors, boxes)[0]

    within = taken(center_radius=None)
    assert within[0].all() and torch.equal(within[1], (x > 100) & (x < 110) & (y > 100) & (y < 140))
    near = taken(center_radius=2.5)
    reach = 2.5 * batch.priors[:, 2]
    assert torch.equal(near[0], ((x - 128).abs() < reach) & ((y - 128).abs() < reach))
    nearest = taken(nearest=3)
    distance = (x - 128)**2 + (y - 128)**2
    for stride in (8, 32):
        level = batch.priors[:, 2] == stride
        assert nearest[0, level].sum() == 9
        assert distance[level][nearest[0, level]].max() <= distance[level][~nearest[0, level]].min()
    assert (nearest[1] & ~within[1]).sum() == 0


def test_no_object_in_an_image_or_in_any():
    found = assigned(scene([0, 0], **SMALL))
    assert found.gt_inds.shape[0] == 2 and not found.gt_inds.any() and (found.labels == -1).all()
    found = assigned(scene([0, 2], **SMALL))
    assert not found.gt_inds[0].any() and found.gt_inds[1].any()
    nothing = InstanceData(scores=torch.zeros(0, 6), bboxes=torch.zeros(0, 4), priors=torch.zeros(0, 4))
    assert len(OTAAssigner().assign(nothing, objects([0, 0, 9, 9])).gt_inds) == 0


@pytest.mark.parametrize('solver', ['sinkhorn', 'topk'])
def test_object_that_no_centre_falls_in_is_assigned_still(solver):
    batch = scene([2, 2], **SMALL)
    batch.objects[0].bboxes[1] = torch.tensor([33., 33, 34, 35])
    found = assigned(batch, solver=solver)
    assert (found.gt_inds[0] == 2).sum() >= 1 and (found.gt_inds[0] == 1).any()
    alone = assigned(scene([2, 2], **SMALL), solver=solver)
    assert torch.equal(found.gt_inds[1], alone.gt_inds[1])


def test_two_equal_boxes():
    batch = scene([3], **SMALL)
    batch.objects[0].bboxes[1:] = batch.objects[0].bboxes[:1]
    batch.objects[0].labels[1:] = batch.objects[0].labels[:1]
    found = assigned(batch)
    at = found.gt_inds[0] > 0
    assert at.any() and (found.bboxes[0, at] == batch.objects[0].bboxes[0]).all()
    batch.objects[0].labels[1] = (batch.objects[0].labels[0] + 1) % 6
    assert set(assigned(batch).labels.unique().tolist()) == {-1, *batch.objects[0].labels.tolist()}


@pytest.mark.parametrize('solver', ['sinkhorn', 'topk'])
def test_k_larger_than_the_candidates(solver):
    batch = scene([1], **SMALL)
    batch.objects[0].bboxes[0] = torch.tensor([30., 30, 50, 50])
    found = assigned(batch, solver=solver, k=100)
    inside = OTAAssigner().center_prior(batch.priors, batch.objects[0].bboxes[None])[0, 0]
    assert found.k.item() == 100 and 1 <= found.gt_inds.sum() <= inside.sum() < 100
    if solver == 'topk':
        assert torch.equal(found.gt_inds[0] > 0, inside)
    everything = assigned(batch, solver=solver, k=100000)
    assert everything.gt_inds.any() and everything.overlaps.isfinite().all()


@pytest.mark.parametrize('solver', ['sinkhorn', 'topk'])
def test_five_hundred_objects(solver):
    batch = scene([500, 1], **SMALL)
    found = assigned(batch, solver=solver)
    assert found.gt_inds.max() <= 500 and len(found.gt_inds[0].unique()) > 50
    assert found.overlaps.isfinite().all() and found.error.isfinite().all()


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('solver', ['sinkhorn', 'topk'])
def test_pair_without_finite_cost_is_never_assigned(value, solver, log):
    batch = scene([3, 2], **SMALL)
    assigner = OTAAssigner(solver=solver)
    bad = assigned(batch, solver=solver).gt_inds[0].nonzero()[0]
    batch.logits[0, bad, 0] = value
    batch.distances[1, :4] = value
    for _ in range(2):
        found = assigner.assign_batch(batch.logits, batch.bboxes, batch.priors, batch.objects,
                                      [dict(img_path='a.jpg'), dict(img_path='b.jpg')])
    assert found.gt_inds[0, bad] == 0 and found.gt_inds[0].any() and found.gt_inds[1].any()
    assert found.overlaps.isfinite().all() and found.costs.isfinite().all()
    assert len(log) == 1 and 'a.jpg' in log[0] and 'never assigned' in log[0]


def test_image_without_any_finite_cost_is_named():
    batch = scene([1, 2], **SMALL)
    batch.logits[1] = float('nan')
    with pytest.raises(FloatingPointError, match='b.jpg.*learning rate'):
        OTAAssigner().assign_batch(batch.logits, batch.bboxes, batch.priors, batch.objects,
                                   [dict(img_path='a.jpg'), dict(img_path='b.jpg')])
    with pytest.raises(FloatingPointError, match='image 1 of the batch'):
        assigned(batch)


def test_half_precision_and_autocast():
    batch = scene([4, 2], **SMALL)
    batch.logits, batch.distances = batch.logits.half().float(), batch.distances.round()
    expected = assigned(batch)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = OTAAssigner().assign_batch(batch.logits.half(), batch.bboxes.half(), batch.priors.half(), batch.objects)
    assert torch.equal(found.gt_inds, expected.gt_inds) and found.overlaps.dtype == torch.float32


def test_takes_mmdets_box_type():
    batch = scene([3], **SMALL)
    expected = assigned(batch)
    batch.objects[0].bboxes = HorizontalBoxes(batch.objects[0].bboxes)
    assert torch.equal(assigned(batch).gt_inds, expected.gt_inds)


def test_is_found_by_its_bare_name():
    assert type(TASK_UTILS.build(dict(type='OTAAssigner'))) is OTAAssigner


@pytest.mark.parametrize('options, words', [
    (dict(score_form='sigmoid'), "score_form='sigmoid'.*square_roots"),
    (dict(solver='exact'), "solver='exact'.*sinkhorn"),
    (dict(k=0), 'k=0'), (dict(top_q=0), 'top_q=0'), (dict(nearest=0), 'nearest=0'),
    (dict(iterations=0), 'iterations=0'), (dict(eps=0), 'eps=0.*exact_transport')])
def test_wrong_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        OTAAssigner(**options)


def test_priors_without_strides_are_refused():
    batch = scene([1], **SMALL)
    with pytest.raises(ValueError, match=r'\(420, 2\).*with_stride=True'):
        OTAAssigner().assign_batch(batch.logits, batch.bboxes, batch.priors[:, :2], batch.objects)


# mmdet's config, whose model ours changes in one line, and what makes that model small.
IN_PLACE_OF = {
    'yolox_s_ota': ('yolox/yolox_s_8xb8-300e_coco.py', 'SimOTAAssigner', {}),
    'rtmdet_tiny_ota': ('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 'DynamicSoftLabelAssigner',
                        {'backbone.norm_cfg.type': 'BN', 'neck.norm_cfg.type': 'BN', 'bbox_head.norm_cfg.type': 'BN',
                         'backbone.init_cfg': None}),
}


@pytest.mark.parametrize('name', IN_PLACE_OF)
def test_config_is_mmdets_but_for_the_assigner(name):
    base, replaced, _ = IN_PLACE_OF[name]
    ours, theirs = Config.fromfile(CONFIGS / f'{name}.py'), get_config(f'mmdet::{base}')
    assert theirs.model.train_cfg.assigner.type == replaced
    theirs.model.train_cfg.assigner = ours.model.train_cfg.assigner
    ours.model.pop('_scope_', None)  # where it was read, noted by mmengine
    assert ours.model == theirs.model
    assert ours.model.train_cfg.assigner.type == 'OTAAssigner'
    assert ours.optim_wrapper.optimizer == theirs.optim_wrapper.optimizer
    assert ours.custom_imports.imports == ['mmdet_setdet']
    dataset = ours.train_dataloader.dataset
    assert dataset.get('dataset', dataset).data_root == ours.data_root == ours.val_dataloader.dataset.data_root


@pytest.mark.parametrize('name', IN_PLACE_OF)
def test_sixteen_images_change_no_part_of_the_model(name):
    """They train and are judged on the same images; pretrained weights and sizes drawn by batch are left out."""
    full, sixteen = (Config.fromfile(CONFIGS / path) for path in (f'{name}.py', f'quickstart/{name}_coco16.py'))
    for part in ('neck', 'bbox_head', 'train_cfg', 'test_cfg'):
        assert sixteen.model[part] == full.model[part]
    assert {**sixteen.model.backbone, 'init_cfg': None} == {**full.model.backbone, 'init_cfg': None}
    assert sixteen.optim_wrapper.optimizer.type == full.optim_wrapper.optimizer.type
    train, val = (getattr(sixteen, f'{split}_dataloader').dataset for split in ('train', 'val'))
    assert train.type == val.type == 'CocoDataset' and train.indices == val.indices == 16
    assert train.ann_file == val.ann_file and sixteen.val_evaluator.ann_file is None
    # Pictures are drawn on the original images, so their boxes must not be resized.
    steps = [step.type for step in val.pipeline]
    assert steps.index('Resize') < steps.index('LoadAnnotations')


@pytest.mark.parametrize('name', IN_PLACE_OF)
def test_mmdets_detector_trains_a_step_with_it(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    small = {'backbone.widen_factor': 0.125, 'backbone.deepen_factor': 0.1, 'neck.in_channels': [32, 64, 128],
             'neck.out_channels': 32, 'bbox_head.in_channels': 32, 'bbox_head.feat_channels': 32}
    cfg.merge_from_dict({f'model.{key}': value for key, value in {**small, **IN_PLACE_OF[name][2]}.items()})
    model = MODELS.build(cfg.model)
    assert type(model.bbox_head.assigner) is OTAAssigner
    model.init_weights()
    model.train()
    inputs, samples = ragged_batch((3, 0, 7))
    for sample in samples:
        sample.set_metainfo(dict(pad_shape=tuple(inputs.shape[-2:])))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    totals = []
    for _ in range(2):
        losses = model.loss(inputs, samples)
        total = sum(sum(value) if isinstance(value, list) else value for value in losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert np.isfinite(totals).all() and totals[0] != totals[1]
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize('row', ['transport', 'transport-growth'])
def test_benchmark_compares_the_same_labels(row, monkeypatch):
    monkeypatch.setattr(transport, 'GT_COUNTS', (1, 5))
    options = Options(repeats=1, size=(64, 96))
    found = [m for case in ROWS[row](options) for m in measure(row, case, 1, 'cpu', warmup=0)]
    assert found and all(m.ours_ms > 0 and not m.max_abs_diff for m in found)
    assert {'mmdet SimOTA'} <= {m.peer for m in found}


def test_quality_tool_finds_the_exact_plan_at_small_eps(capsys):
    options = dict(images=[1], objects=[2], size=[96, 128], eps=[0.1, 0.01], iterations=[5, 3000])
    argv = [word for name, values in options.items() for word in (f'--{name}', *map(str, values))]
    rows = {tuple(row[:2]): row[2:] for row in tool('analysis_tools/transport_quality').main(argv)}
    assert len(rows) == 4 and len(capsys.readouterr().out.splitlines()) == 6
    gap, error, labels, stray, _ = rows[0.01, 3000]
    assert abs(gap) < 1 and error < 0.01 and labels <= 1 and stray <= 0.5
    assert rows[0.1, 3000][0] > gap and rows[0.01, 5][1] > error
