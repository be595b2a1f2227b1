"""OTAHead: its losses by their definition, the scores of its detections, and that it learns."""

import pytest
import torch
from helpers.configs import CONFIGS
from mmdet.registry import DATASETS, MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmdet_setdet.errors import InputError
from mmdet_setdet.models.assignment import OTAAssigner
from mmdet_setdet.models.ground_truths import GroundTruths

NUM_CLASSES = 6
STRIDES = [8, 16]
SIZES = [(12, 16), (6, 8)]
METAS = [dict(img_shape=(96, 128), img_path='a.jpg'), dict(img_shape=(96, 128), img_path='b.jpg')]
TEST_CFG = ConfigDict(
    nms_pre=1000, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.6), max_per_img=100
)
HEAD = dict(
    type='OTAHead',
    num_classes=NUM_CLASSES,
    in_channels=32,
    feat_channels=32,
    stacked_convs=1,
    strides=STRIDES,
    norm_cfg=dict(type='GN', num_groups=8),
    test_cfg=TEST_CFG,
)
FIRST_GTS = InstanceData(
    bboxes=torch.tensor([[10.0, 12, 50, 60], [40, 30, 90, 80]]), labels=torch.tensor([1, 4])
)
SECOND_GTS = InstanceData(bboxes=torch.tensor([[60.0, 5, 95, 40]]), labels=torch.tensor([2]))
NO_GTS = FIRST_GTS[:0]


def build_head(**changes):
    init_default_scope('mmdet')
    head = MODELS.build({**HEAD, **changes})
    head.init_weights()
    return head


def random_maps(images=2):
    """Class logits, distances in strides and IoU logits per level."""
    generator = torch.Generator().manual_seed(0)

    def maps(channels):
        return [torch.randn(images, channels, *size, generator=generator) for size in SIZES]

    class_logits = [level - 2 for level in maps(NUM_CLASSES)]
    distances = [level.abs() * 2 for level in maps(4)]
    iou_logits = maps(1)
    for level in (*class_logits, *distances, *iou_logits):
        level.requires_grad_()
    return class_logits, distances, iou_logits


def flatten(levels):
    return torch.cat([level.flatten(2) for level in levels], -1).transpose(1, 2)


def grid_priors():
    """x, y, stride, stride of all cells' centres."""
    priors = []
    for (height, width), stride in zip(SIZES, STRIDES):
        x = torch.arange(width) * stride + stride / 2
        y = torch.arange(height) * stride + stride / 2
        x, y = torch.meshgrid(x, y, indexing='xy')
        strides = torch.full_like(x, stride)
        level = torch.stack([x, y, strides, strides], -1)
        priors.append(level.view(-1, 4))
    return torch.cat(priors)


def decode_boxes(distances, priors):
    points, strides = priors.split(2, 1)
    left_top, right_bottom = flatten(distances).split(2, 2)
    low = points - left_top * strides
    high = points + right_bottom * strides
    return torch.cat([low, high], -1)


class TestLosses:
    def test_they_are_those_of_the_definition(self):
        class_logits, distances, iou_logits = random_maps()
        gt_instances = [FIRST_GTS, SECOND_GTS]
        losses = build_head().loss_by_feat(class_logits, distances, iou_logits, gt_instances, METAS)
        priors = grid_priors()
        boxes = decode_boxes(distances, priors)
        scores = flatten(class_logits)
        targets = OTAAssigner().assign_batch(
            scores, boxes, priors, GroundTruths.from_instances(gt_instances)
        )
        is_assigned = targets.gt_inds > 0
        count = is_assigned.sum()
        assert count > 3

        is_class = torch.zeros_like(scores, dtype=torch.bool)
        is_class[is_assigned, targets.labels[is_assigned]] = True
        prob = scores.sigmoid()
        prob_right = torch.where(is_class, prob, 1 - prob)
        weight = torch.where(is_class, 0.25, 0.75)
        focal = -weight * (1 - prob_right) ** 2 * prob_right.log()
        torch.testing.assert_close(losses['loss_cls'], focal.sum() / count, rtol=1e-5, atol=1e-5)

        pred = boxes[is_assigned]
        target = targets.bboxes[is_assigned]
        giou = bbox_overlaps(pred, target, mode='giou', is_aligned=True)
        torch.testing.assert_close(losses['loss_bbox'], 2 * (1 - giou).mean(), rtol=1e-5, atol=1e-5)

        iou = bbox_overlaps(pred, target, is_aligned=True).detach()
        predicted_iou = flatten(iou_logits)[is_assigned][:, 0].sigmoid()
        cross_entropy = -iou * predicted_iou.log() - (1 - iou) * (1 - predicted_iou).log()
        torch.testing.assert_close(
            losses['loss_iou'], 0.5 * cross_entropy.mean(), rtol=1e-5, atol=1e-5
        )

    @pytest.mark.parametrize(
        'gts', [[FIRST_GTS, NO_GTS], [NO_GTS, NO_GTS]], ids=['one empty', 'all empty']
    )
    def test_images_without_ground_truths_give_finite_gradients(self, gts):
        class_logits, distances, iou_logits = random_maps()
        losses = build_head().loss_by_feat(class_logits, distances, iou_logits, gts, METAS)
        sum(losses.values()).backward()
        for level in (*class_logits, *distances, *iou_logits):
            assert level.grad.isfinite().all()

    def test_without_ground_truths_only_the_class_loss_is_left(self):
        losses = build_head().loss_by_feat(*random_maps(), [NO_GTS, NO_GTS], METAS)
        assert losses['loss_bbox'] == 0
        assert losses['loss_iou'] == 0
        assert losses['loss_cls'] > 0


class TestScores:
    """Of detections before NMS."""

    @staticmethod
    def predict(class_logits, distances, iou_logits, **options):
        head = build_head().eval()
        in_pixels = [level * stride for level, stride in zip(distances, STRIDES)]
        return head.predict_by_feat(
            class_logits,
            in_pixels,
            iou_logits,
            batch_img_metas=METAS,
            rescale=False,
            with_nms=False,
            **options,
        )

    def test_a_score_is_the_root_of_class_times_iou(self):
        class_logits, distances, iou_logits = random_maps()
        results = self.predict(class_logits, distances, iou_logits)
        for image, result in enumerate(results):
            expected = []
            for class_level, iou_level in zip(class_logits, iou_logits):
                scores = (class_level[image].sigmoid() * iou_level[image].sigmoid()).sqrt()
                num_cells = iou_level[image].numel()
                best = scores.flatten().topk(num_cells).values
                expected.append(best[best > 0.05])
            expected = torch.cat(expected).sort().values
            torch.testing.assert_close(result.scores.sort().values, expected, rtol=1e-5, atol=1e-6)

    def test_the_score_decides_which_predictions_are_kept(self):
        class_logits, distances, iou_logits = random_maps()
        with torch.no_grad():
            for level in iou_logits:
                level.fill_(-20.0)
            iou_logits[0][:, :, 3, 4] = 20.0  # the only cell with a good box
        cfg = ConfigDict(TEST_CFG, nms_pre=NUM_CLASSES, score_thr=0.0)
        result = self.predict(class_logits, distances, iou_logits, cfg=cfg)[0]
        best = result.scores.topk(NUM_CLASSES).values
        expected = class_logits[0][0, :, 3, 4].sigmoid().sqrt()
        torch.testing.assert_close(best.sort().values, expected.sort().values)

    def test_extreme_logits_do_not_overflow(self):
        class_logits, distances, iou_logits = random_maps()
        with torch.no_grad():
            class_logits[0][0, 0, 0, 0] = 60.0
            iou_logits[0][0, 0, 0, 0] = 60.0
            class_logits[0][0, 1, 0, 0] = -200.0
            iou_logits[0][0, 0, 0, 1] = -200.0
        results = self.predict(class_logits, distances, iou_logits)
        for result in results:
            assert result.scores.isfinite().all()
        assert results[0].scores.max() == 1


@pytest.mark.parametrize(
    ('point_offset', 'first_points'), [(0.0, [[0, 0], [16, 0]]), (0.5, [[8, 8], [24, 8]])]
)
def test_points_stand_in_the_corner_or_in_the_centre_of_a_cell(point_offset, first_points):
    head = build_head(point_offset=point_offset)
    priors = head.prior_generator.grid_priors(SIZES, device='cpu')
    assert priors[1][:2].tolist() == first_points


@pytest.mark.parametrize(
    'assigner',
    [
        dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4),
        dict(type='mmdet_setdet.HungarianAssigner', match_costs=[dict(type='FocalLossCost')]),
    ],
    ids=lambda assigner: assigner['type'],
)
def test_other_assigners_are_refused(assigner):
    name = assigner['type'].split('.')[-1]
    with pytest.raises(InputError, match=f"{name}.*use type='OTAAssigner'"):
        build_head(train_cfg=dict(assigner=assigner))


@pytest.mark.parametrize('name', ['ota', 'simota', 'fcos', 'atss'])
def test_the_detector_of_the_quick_start_learns(name):
    torch.manual_seed(0)
    cfg = Config.fromfile(CONFIGS / f'quickstart/{name}_r18_shapes.py')
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = Config.fromfile(CONFIGS / 'quickstart/ota_r18_shapes.py').train_dataloader.dataset
    dataset = DATASETS.build(dict(data, num_images=4, seed=5))
    batch = pseudo_collate([dataset[index] for index in range(4)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    history = []
    for _ in range(12):
        data = model.data_preprocessor(batch, training=True)
        losses, _ = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        losses.backward()
        optimizer.step()
        history.append(float(losses.detach()))
    assert history[-1] < 0.8 * history[0]
