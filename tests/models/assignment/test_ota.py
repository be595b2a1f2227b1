"""OTAAssigner: against the authors' code, against its own definition, in mmdet's heads, and at its limits."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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
from mmengine.structures import InstanceData

from mmdet_setdet.errors import InputError
from mmdet_setdet.models.assignment import OTAAssigner, exact_transport
from mmdet_setdet.models.assignment.transport_problem import group_candidates, pad_candidates
from mmdet_setdet.models.ground_truths import GroundTruths

SMALL = dict(image_size=(128, 160), num_classes=6, strides=(8, 16, 32))
# No point of SMALL's levels lies in this box.
BETWEEN_POINTS = torch.tensor([33.0, 33, 34, 35])
NAN = float('nan')
BOTH_SOLVERS = pytest.mark.parametrize('solver', ['sinkhorn', 'topk'])


def inputs_of(batch, metas=None):
    """The arguments of assign_batch and build_problems."""
    gts = GroundTruths.from_instances(batch.objects, metas)
    return batch.logits, batch.bboxes, batch.priors, gts


def assign(batch, **options):
    return OTAAssigner(**options).assign_batch(*inputs_of(batch))


def center_prior(batch, image=0, **options):
    """Which predictions are near each ground truth of an image, (G, N)."""
    [is_near] = OTAAssigner(**options).center_prior(batch.priors, batch.objects[image].bboxes[None])
    return is_near


class TestAgainstTheAuthors:
    @pytest.mark.parametrize('case', ota_cases.CASES)
    def test_assignment(self, case):
        batch = ota_cases.scene_of(case)
        result = assign(batch)
        points = batch.priors[:, :2]
        for image, expected in enumerate(ota_cases.load(case)):
            assigned = result.gt_inds[image].nonzero()[:, 0]
            assert assigned.tolist() == expected['at'].tolist()
            assert result.labels[image, assigned].tolist() == expected['labels'].tolist()
            left_top = points[assigned] - result.bboxes[image, assigned, :2]
            right_bottom = result.bboxes[image, assigned, 2:] - points[assigned]
            distances = torch.cat([left_top, right_bottom], 1)
            np.testing.assert_allclose(distances, expected['distances'], atol=1e-4, rtol=1e-6)
            np.testing.assert_allclose(
                result.overlaps[image, assigned], expected['ious'], atol=1e-5
            )
            padding = [0] * (60 - ota_cases.COUNTS[image])
            assert result.k[image].tolist() == expected['k'].tolist() + padding

    @pytest.mark.parametrize('case', ota_cases.CASES)
    def test_plan(self, case):
        assigner = OTAAssigner()
        [problem] = assigner.build_problems(*inputs_of(ota_cases.scene_of(case)))
        plan = assigner.solve(problem).plan
        expected = ota_cases.load(case)
        assert problem.images.tolist() == [1, 2, 3, 4], 'the first image has no ground truth'
        for row, image in enumerate(problem.images.tolist()):
            gt, pred = torch.from_numpy(expected[image]['plan_pair']).long().T
            column = torch.searchsorted(problem.candidates[row], pred)
            assert torch.equal(problem.candidates[row, column], pred)
            np.testing.assert_allclose(plan[row, gt, column], expected[image]['plan'], atol=1e-4)

    def test_golden_file_names_its_revision(self):
        with np.load(ota_cases.FILE) as arrays:
            assert len(str(arrays['revision'])) == 40


class TestSteps:
    def test_together_they_are_assign_batch(self):
        batch = scene([5, 0, 9], **SMALL)
        scores, bboxes, priors, gts = inputs_of(batch)
        assigner = OTAAssigner()
        problems = assigner.build_problems(scores, bboxes, priors, gts)
        transports = [assigner.solve(problem) for problem in problems]
        result = assigner.decode(problems, transports, gts, num_preds=len(priors))
        expected = assigner.assign_batch(scores, bboxes, priors, gts)
        assert torch.equal(result.gt_inds, expected.gt_inds)
        assert torch.equal(result.costs, expected.costs)

    def test_supply_meets_demand_and_costs_are_finite(self):
        [problem] = OTAAssigner().build_problems(*inputs_of(scene([5, 0, 9], **SMALL)))
        num_preds = 420
        total = torch.full((2,), float(num_preds))
        torch.testing.assert_close(problem.supply.sum(1), total)
        torch.testing.assert_close(problem.demand.sum(1), total)
        assert problem.costs.isfinite().all()
        is_padded = problem.candidates == num_preds
        assert is_padded.any()
        assert not problem.demand[:, :-1][is_padded].any()

    def test_an_image_with_a_ground_truth_near_no_prediction_is_a_problem_of_its_own(self):
        batch = scene([2, 2, 2], **SMALL)
        batch.objects[1].bboxes[1] = BETWEEN_POINTS
        narrow, wide = OTAAssigner().build_problems(*inputs_of(batch))
        assert narrow.images.tolist() == [0, 2]
        assert wide.images.tolist() == [1]
        assert wide.candidates.shape[1] == len(batch.priors) > narrow.candidates.shape[1]

    def test_example_of_padded_candidates(self):
        is_candidate = torch.tensor([[1, 0, 0, 1, 1], [0, 1, 0, 0, 0]]).bool()
        candidates = pad_candidates(is_candidate, width=3)
        assert candidates.tolist() == [[0, 3, 4], [1, 5, 5]]

    def test_images_without_candidates_are_in_no_group(self):
        is_candidate = torch.tensor([[0, 0], [0, 1]]).bool()
        [(images, candidates)] = group_candidates(is_candidate, torch.tensor([False, False]))
        assert images.tolist() == [1]
        assert candidates.tolist() == [[1]]


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(solver='topk'),
        dict(k=4),
        dict(nearest=3),
        dict(center_radius=None),
    ],
    ids=str,
)
def test_a_batch_equals_its_images(options):
    batch = scene([5, 0, 9], **SMALL)
    batch.objects[2].bboxes[4] = BETWEEN_POINTS
    assigner = OTAAssigner(**options)
    expected = assigner.assign_batch(*inputs_of(batch))
    for image, gt_instances in enumerate(batch.objects):
        pred = InstanceData(
            scores=batch.logits[image], bboxes=batch.bboxes[image], priors=batch.priors
        )
        result = assigner.assign(pred, gt_instances, None)
        assert result.num_gts == len(gt_instances)
        assert torch.equal(result.gt_inds, expected.gt_inds[image])
        assert torch.equal(result.labels, expected.labels[image])
        torch.testing.assert_close(result.max_overlaps, expected.overlaps[image])


class TestDefinition:
    def test_result_is_consistent(self):
        batch = scene([5, 3], **SMALL)
        result = assign(batch)
        for image, gt_instances in enumerate(batch.objects):
            assigned = result.gt_inds[image].nonzero()[:, 0]
            gt = result.gt_inds[image, assigned] - 1
            assert set(gt.tolist()) == set(range(len(gt_instances)))
            assert torch.equal(result.labels[image, assigned], gt_instances.labels[gt])
            assert torch.equal(result.bboxes[image, assigned], gt_instances.bboxes[gt])
            ious = bbox_overlaps(
                batch.bboxes[image, assigned], gt_instances.bboxes[gt], is_aligned=True
            )
            torch.testing.assert_close(result.overlaps[image, assigned], ious)
            assert result.costs[image, assigned].min() > 0
            is_background = result.gt_inds[image] == 0
            assert (result.labels[image, is_background] == -1).all()
            assert not result.overlaps[image, is_background].any()

    def test_costs_are_focal_loss_and_weighted_iou_loss(self):
        batch = scene([2], **SMALL)
        result = assign(batch, iou_weight=2.0, focal_alpha=0.3, focal_gamma=1.5)
        assigned = result.gt_inds[0].nonzero()[:, 0]
        prob = batch.logits[0, assigned].sigmoid()
        is_class = F.one_hot(result.labels[0, assigned], 6).bool()
        prob_right = torch.where(is_class, prob, 1 - prob)
        alpha = torch.where(is_class, 0.3, 0.7)
        focal = -alpha * (1 - prob_right) ** 1.5 * prob_right.log()
        iou_loss = -result.overlaps[0, assigned].log()
        expected = focal.sum(1) + 2 * iou_loss
        torch.testing.assert_close(result.costs[0, assigned], expected, atol=1e-4, rtol=1e-4)

    def test_score_forms_differ_in_form_only(self):
        batch = scene([5, 3], **SMALL)
        _, bboxes, priors, gts = inputs_of(batch)
        scores = {
            'logits': batch.logits,
            'probabilities': batch.logits.sigmoid(),
            'square_roots': batch.logits.sigmoid().sqrt(),
        }
        expected = assign(batch)
        for score_form in scores:
            assigner = OTAAssigner(score_form=score_form)
            for given_form, given in scores.items():
                result = assigner.assign_batch(given, bboxes, priors, gts)
                if given_form == score_form:
                    assert torch.equal(result.gt_inds, expected.gt_inds)
                    torch.testing.assert_close(result.costs, expected.costs, atol=1e-4, rtol=1e-4)
                else:
                    assert not torch.allclose(result.costs, expected.costs)

    def test_converged_at_small_eps_the_plan_is_exact(self):
        batch = scene([3], image_size=(64, 96), num_classes=6, strides=(8, 16), seed=1)
        assigner = OTAAssigner(eps=0.01, iterations=5000, tolerance=1e-3)
        [problem] = assigner.build_problems(*inputs_of(batch))
        exact = exact_transport(problem.costs[0], problem.supply[0], problem.demand[0])
        result = assigner.assign_batch(*inputs_of(batch))
        assert result.error.max() <= 1e-3
        counts = result.gt_inds[0].bincount(minlength=4)[1:]
        assert counts.tolist() == result.k[0].tolist()
        background = problem.costs[0, -1, :-1]
        is_taken = exact[:-1, :-1].sum(0) > 0.5
        # All candidates pay the background, those that a ground truth gets pay for it, too.
        total = result.costs[0].sum() + background.sum()
        optimum = (exact * problem.costs[0]).sum()
        optimum += background[is_taken].sum()
        assert total.item() == pytest.approx(optimum.item(), rel=0.01)

    def test_k_is_estimated_from_the_predictions_that_are_near(self):
        batch = scene([4], **SMALL)
        ious = bbox_overlaps(batch.objects[0].bboxes, batch.bboxes[0]) * center_prior(batch)
        expected = ious.topk(5).values.sum(1).int().clamp(min=1)
        assert assign(batch, top_q=5).k[0].tolist() == expected.tolist()
        assert assign(batch, k=3).k.tolist() == [[3] * 4]

    def test_a_ground_truth_near_no_prediction_wants_one(self):
        batch = scene([2], **SMALL)
        batch.objects[0].bboxes[1] = BETWEEN_POINTS
        scores, bboxes, priors, gts = inputs_of(batch)
        bboxes[0, :10] = BETWEEN_POINTS  # whose IoU does not count
        result = OTAAssigner().assign_batch(scores, bboxes, priors, gts)
        assert result.k[0, 1] == 1

    def test_top_k_is_the_matching_of_sim_ota(self):
        batch = scene([8], **SMALL, seed=5)
        result = assign(batch, solver='topk')
        [problem] = OTAAssigner(solver='topk').build_problems(*inputs_of(batch))
        costs = problem.costs[0, :-1, :-1]
        candidates = problem.candidates[0]
        is_candidate = torch.zeros(len(batch.priors), dtype=torch.bool)
        is_candidate[candidates] = True
        ious = problem.ious[0] * center_prior(batch)[:, candidates]
        sim_ota = SimOTAAssigner(candidate_topk=20)
        # It overwrites is_candidate with the predictions that are matched.
        _, gt = sim_ota.dynamic_k_matching(costs.T, ious.T, 8, is_candidate)
        expected = torch.zeros_like(result.gt_inds[0])
        expected[is_candidate] = gt + 1
        assert torch.equal(result.gt_inds[0], expected)


class TestCenterPrior:
    batch = scene([0], image_size=(256, 256), strides=(8, 32), num_classes=2)
    batch.objects[0] = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 256, 256], [100, 100, 110, 140]]), labels=torch.tensor([0, 0])
    )
    x, y, stride, _ = batch.priors.T

    def test_the_whole_box(self):
        is_near = center_prior(self.batch, center_radius=None)
        assert is_near[0].all()
        in_x = (self.x > 100) & (self.x < 110)
        in_y = (self.y > 100) & (self.y < 140)
        assert torch.equal(is_near[1], in_x & in_y)

    def test_a_radius_in_strides(self):
        is_near = center_prior(self.batch, center_radius=2.5)
        reach = 2.5 * self.stride
        in_x = (self.x - 128).abs() < reach
        in_y = (self.y - 128).abs() < reach
        assert torch.equal(is_near[0], in_x & in_y)

    @pytest.mark.parametrize('stride', [8, 32])
    def test_the_nearest_of_each_level(self, stride):
        is_level = self.stride == stride
        is_near = center_prior(self.batch, nearest=3)[0, is_level]
        distance = ((self.x - 128) ** 2 + (self.y - 128) ** 2)[is_level]
        assert is_near.sum() == 9
        assert distance[is_near].max() <= distance[~is_near].min()

    def test_the_nearest_are_within_the_box(self):
        is_near = center_prior(self.batch, nearest=3)
        is_inside = center_prior(self.batch, center_radius=None)
        assert not (is_near[1] & ~is_inside[1]).any()


class TestLimits:
    def test_batch_without_ground_truths(self):
        result = assign(scene([0, 0], **SMALL))
        assert result.gt_inds.shape == (2, 420)
        assert not result.gt_inds.any()
        assert (result.labels == -1).all()

    def test_image_without_ground_truths(self):
        result = assign(scene([0, 2], **SMALL))
        assert not result.gt_inds[0].any()
        assert result.gt_inds[1].any()

    def test_no_predictions(self):
        pred = InstanceData(
            scores=torch.zeros(0, 6), bboxes=torch.zeros(0, 4), priors=torch.zeros(0, 4)
        )
        [gt] = scene([1], **SMALL).objects
        result = OTAAssigner().assign(pred, gt)
        assert len(result.gt_inds) == 0

    @BOTH_SOLVERS
    def test_ground_truth_between_the_points_is_assigned_still(self, solver):
        batch = scene([2, 2], **SMALL)
        batch.objects[0].bboxes[1] = BETWEEN_POINTS
        result = assign(batch, solver=solver)
        assert {1, 2} <= set(result.gt_inds[0].tolist())
        unchanged = assign(scene([2, 2], **SMALL), solver=solver)
        assert torch.equal(result.gt_inds[1], unchanged.gt_inds[1])

    def test_equal_boxes(self):
        batch = scene([3], **SMALL)
        gt_instances = batch.objects[0]
        gt_instances.bboxes[1:] = gt_instances.bboxes[:1]
        gt_instances.labels[1:] = gt_instances.labels[:1]
        result = assign(batch)
        is_assigned = result.gt_inds[0] > 0
        assert is_assigned.any()
        assert (result.bboxes[0, is_assigned] == gt_instances.bboxes[0]).all()

    def test_equal_boxes_of_two_classes_both_get_predictions(self):
        batch = scene([2], **SMALL)
        gt_instances = batch.objects[0]
        gt_instances.bboxes[1] = gt_instances.bboxes[0]
        gt_instances.labels[:] = torch.tensor([4, 5])
        assert set(assign(batch).labels.unique().tolist()) == {-1, 4, 5}

    @BOTH_SOLVERS
    def test_k_larger_than_the_number_of_candidates(self, solver):
        batch = scene([1], **SMALL)
        batch.objects[0].bboxes[0] = torch.tensor([30.0, 30, 50, 50])
        is_near = center_prior(batch)[0]
        result = assign(batch, solver=solver, k=100)
        assert result.k.item() == 100
        assert 1 <= result.gt_inds.sum() <= is_near.sum() < 100
        if solver == 'topk':
            assert torch.equal(result.gt_inds[0] > 0, is_near)

    @BOTH_SOLVERS
    def test_k_larger_than_the_number_of_predictions(self, solver):
        result = assign(scene([1], **SMALL), solver=solver, k=100000)
        assert result.gt_inds.any()
        assert result.overlaps.isfinite().all()

    @BOTH_SOLVERS
    def test_five_hundred_ground_truths(self, solver):
        result = assign(scene([500, 1], **SMALL), solver=solver)
        assert result.gt_inds.max() <= 500
        assert len(result.gt_inds[0].unique()) > 50
        assert result.overlaps.isfinite().all()
        assert result.error.isfinite().all()

    def test_half_precision_and_autocast(self):
        batch = scene([4, 2], **SMALL)
        batch.logits = batch.logits.half().float()
        batch.distances = batch.distances.round()
        expected = assign(batch)
        scores, bboxes, priors, gts = inputs_of(batch)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            result = OTAAssigner().assign_batch(scores.half(), bboxes.half(), priors.half(), gts)
        assert torch.equal(result.gt_inds, expected.gt_inds)
        assert result.overlaps.dtype == torch.float32

    def test_mmdets_box_type_is_accepted(self):
        batch = scene([3], **SMALL)
        expected = assign(batch)
        batch.objects[0].bboxes = HorizontalBoxes(batch.objects[0].bboxes)
        assert torch.equal(assign(batch).gt_inds, expected.gt_inds)


class TestCostsThatAreNotFinite:
    metas = [dict(img_path='a.jpg'), dict(img_path='b.jpg')]

    @pytest.mark.parametrize('value', [NAN, float('inf')])
    @BOTH_SOLVERS
    def test_they_are_never_matched_and_warned_of_once(self, value, solver, warnings):
        batch = scene([3, 2], **SMALL)
        bad = assign(batch, solver=solver).gt_inds[0].nonzero()[0].item()
        batch.logits[0, bad, 0] = value
        batch.distances[1, :4] = value
        assigner = OTAAssigner(solver=solver)
        for _ in range(2):
            result = assigner.assign_batch(*inputs_of(batch, self.metas))
        assert result.gt_inds[0, bad] == 0
        assert result.gt_inds.any(1).all()
        assert result.overlaps.isfinite().all()
        assert result.costs.isfinite().all()
        assert len(warnings) == 1
        for word in ('a.jpg', f'prediction {bad};', 'never matched', 'shown once'):
            assert word in warnings[0]

    def test_an_image_without_any_finite_cost_is_an_error(self):
        batch = scene([1, 2], **SMALL)
        batch.logits[1] = NAN
        with pytest.raises(FloatingPointError, match='b.jpg.*learning rate'):
            OTAAssigner().assign_batch(*inputs_of(batch, self.metas))

    def test_an_image_without_a_name_is_named_by_its_position(self):
        batch = scene([1, 2], **SMALL)
        batch.logits[1] = NAN
        with pytest.raises(FloatingPointError, match='image 1 of the batch'):
            assign(batch)


def test_it_is_registered_by_its_bare_name():
    assert type(TASK_UTILS.build(dict(type='OTAAssigner'))) is OTAAssigner


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(score_form='sigmoid'), "score_form='sigmoid'.*square_roots"),
        (dict(solver='exact'), "solver='exact'.*sinkhorn"),
        (dict(k=0), 'k=0'),
        (dict(top_q=0), 'top_q=0'),
        (dict(nearest=0), 'nearest=0'),
        (dict(iterations=0), 'iterations=0'),
        (dict(eps=0), 'eps=0.*exact_transport'),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        OTAAssigner(**options)


def test_priors_without_strides_are_refused():
    scores, bboxes, priors, gts = inputs_of(scene([1], **SMALL))
    with pytest.raises(InputError, match=r'\(420, 2\).*with_stride=True'):
        OTAAssigner().assign_batch(scores, bboxes, priors[:, :2], gts)


# mmdet's config, whose model ours changes in one line, and what makes that model small.
IN_PLACE_OF = {
    'yolox_s_ota': ('yolox/yolox_s_8xb8-300e_coco.py', 'SimOTAAssigner', {}),
    'rtmdet_tiny_ota': (
        'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        'DynamicSoftLabelAssigner',
        {
            'backbone.norm_cfg.type': 'BN',
            'neck.norm_cfg.type': 'BN',
            'bbox_head.norm_cfg.type': 'BN',
            'backbone.init_cfg': None,
        },
    ),
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
    assert (
        dataset.get('dataset', dataset).data_root
        == ours.data_root
        == ours.val_dataloader.dataset.data_root
    )


@pytest.mark.parametrize('name', IN_PLACE_OF)
def test_sixteen_images_change_no_part_of_the_model(name):
    """They train and are judged on the same images; pretrained weights and sizes drawn by batch are left out."""
    full, sixteen = (
        Config.fromfile(CONFIGS / path) for path in (f'{name}.py', f'quickstart/{name}_coco16.py')
    )
    for part in ('neck', 'bbox_head', 'train_cfg', 'test_cfg'):
        assert sixteen.model[part] == full.model[part]
    assert {**sixteen.model.backbone, 'init_cfg': None} == {**full.model.backbone, 'init_cfg': None}
    assert sixteen.optim_wrapper.optimizer.type == full.optim_wrapper.optimizer.type
    train, val = (getattr(sixteen, f'{split}_dataloader').dataset for split in ('train', 'val'))
    assert train.type == val.type == 'CocoDataset'
    assert train.indices == val.indices == 16
    assert train.ann_file == val.ann_file
    assert sixteen.val_evaluator.ann_file is None
    # Pictures are drawn on the original images, so their boxes must not be resized.
    steps = [step.type for step in val.pipeline]
    assert steps.index('Resize') < steps.index('LoadAnnotations')


@pytest.mark.parametrize('name', IN_PLACE_OF)
def test_mmdets_detector_trains_a_step_with_it(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    small = {
        'backbone.widen_factor': 0.125,
        'backbone.deepen_factor': 0.1,
        'neck.in_channels': [32, 64, 128],
        'neck.out_channels': 32,
        'bbox_head.in_channels': 32,
        'bbox_head.feat_channels': 32,
    }
    cfg.merge_from_dict(
        {f'model.{key}': value for key, value in {**small, **IN_PLACE_OF[name][2]}.items()}
    )
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
    assert np.isfinite(totals).all()
    assert totals[0] != totals[1]
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize('row', ['transport', 'transport-growth'])
def test_benchmark_compares_the_same_labels(row, monkeypatch):
    monkeypatch.setattr(transport, 'GT_COUNTS', (1, 5))
    options = Options(repeats=1, size=(64, 96))
    found = [m for case in ROWS[row](options) for m in measure(row, case, 1, 'cpu', warmup=0)]
    assert found
    assert all(m.ours_ms > 0 and not m.max_abs_diff for m in found)
    assert {'mmdet SimOTA'} <= {m.peer for m in found}


def test_quality_tool_finds_the_exact_plan_at_small_eps(capsys):
    options = dict(images=[1], objects=[2], size=[96, 128], eps=[0.1, 0.01], iterations=[5, 3000])
    argv = [word for name, values in options.items() for word in (f'--{name}', *map(str, values))]
    rows = {tuple(row[:2]): row[2:] for row in tool('analysis_tools/transport_quality').main(argv)}
    assert len(rows) == 4
    assert len(capsys.readouterr().out.splitlines()) == 6
    gap, error, labels, stray, _ = rows[0.01, 3000]
    assert abs(gap) < 1
    assert error < 0.01
    assert labels <= 1
    assert stray <= 0.5
    assert rows[0.1, 3000][0] > gap
    assert rows[0.01, 5][1] > error
