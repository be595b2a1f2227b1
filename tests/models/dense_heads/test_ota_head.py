"""OTAHead: its losses from their definition, its detections' scores, and what it learns."""
import pytest
import torch
from helpers.configs import CONFIGS
from mmdet.registry import DATASETS, MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmdet_setdet.models.assignment import OTAAssigner

NUM_CLASSES, STRIDES, SIZES = 6, [8, 16], [(12, 16), (6, 8)]
METAS = [dict(img_shape=(96, 128), img_path='a.jpg'), dict(img_shape=(96, 128), img_path='b.jpg')]


def head(**changes):
    init_default_scope('mmdet')
    cfg = dict(type='OTAHead', num_classes=NUM_CLASSES, in_channels=32, feat_channels=32, stacked_convs=1,
               strides=STRIDES, norm_cfg=dict(type='GN', num_groups=8),
               test_cfg=ConfigDict(nms_pre=1000, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.6),
                                   max_per_img=100))
    model = MODELS.build({**cfg, **changes})
    model.init_weights()
    return model


def random_maps(images=2, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def maps(channels, scale, shift):
        return [torch.randn(images, channels, *size, generator=generator).mul_(scale).add_(shift).requires_grad_()
                for size in SIZES]

    return maps(NUM_CLASSES, 1., -2.), [level.detach().abs().requires_grad_() for level in maps(4, 2., 0.)], maps(
        1, 1., 0.)


def objects(*boxes, labels=None):
    return InstanceData(bboxes=torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
                        labels=torch.tensor(labels or [0] * len(boxes)).long())


def flat(levels):
    return torch.cat([level.flatten(2) for level in levels], -1).transpose(1, 2)


GTS = [objects([10, 12, 50, 60], [40, 30, 90, 80], labels=[1, 4]), objects([60, 5, 95, 40], labels=[2])]


def test_losses_are_those_of_the_definition():
    model, (scores, distances, ious) = head(), random_maps()
    losses = model.loss_by_feat(scores, distances, ious, GTS, METAS)
    grids = [torch.meshgrid(torch.arange(w) * s + s / 2, torch.arange(h) * s + s / 2, indexing='xy')
             for (h, w), s in zip(SIZES, STRIDES)]
    points = torch.cat([torch.stack(grid, -1).view(-1, 2) for grid in grids])
    stride = torch.cat([torch.full((h * w, 1), float(s)) for (h, w), s in zip(SIZES, STRIDES)])
    reach = flat(distances) * stride
    boxes = torch.cat([points - reach[..., :2], points + reach[..., 2:]], -1)
    found = OTAAssigner().assign_batch(flat(scores), boxes, torch.cat([points, stride, stride], 1), GTS)
    count, total = int((found.gt_inds > 0).sum()), dict(loss_cls=0., loss_bbox=0., loss_iou=0.)
    assert count > 3
    for image, gts in enumerate(GTS):
        target = torch.zeros(len(points), NUM_CLASSES)
        for at in found.gt_inds[image].nonzero()[:, 0]:
            gt = found.gt_inds[image, at] - 1
            target[at, gts.labels[gt]] = 1
            box, expected = boxes[image, at], gts.bboxes[gt]
            giou = bbox_overlaps(box[None], expected[None], mode='giou')[0, 0]
            iou = bbox_overlaps(box[None], expected[None])[0, 0].detach()
            total['loss_bbox'] += 2 * (1 - giou)
            guess = flat(ious)[image, at, 0].sigmoid()
            total['loss_iou'] -= 0.5 * (iou * guess.log() + (1 - iou) * (1 - guess).log())
        prob = flat(scores)[image].sigmoid()
        right = torch.where(target > 0, prob, 1 - prob)
        weight = torch.where(target > 0, 0.25, 0.75)
        total['loss_cls'] -= (weight * (1 - right)**2 * right.log()).sum()
    for name, value in total.items():
        torch.testing.assert_close(losses[name], value / count, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('gts', [[GTS[0], objects()], [objects(), objects()]], ids=['one empty', 'all empty'])
def test_images_without_objects_give_finite_losses_and_gradients(gts):
    model, maps = head(), random_maps()
    losses = model.loss_by_feat(*maps, gts, METAS)
    sum(losses.values()).backward()
    assert all(level.grad is not None and level.grad.isfinite().all() for levels in maps for level in levels)
    if not any(len(image) for image in gts):
        assert losses['loss_bbox'] == losses['loss_iou'] == 0 and losses['loss_cls'] > 0


def test_the_score_is_the_root_of_class_times_iou():
    model, (scores, distances, ious) = head().eval(), random_maps()
    scaled = [level * stride for level, stride in zip(distances, STRIDES)]
    results = model.predict_by_feat(scores, scaled, ious, batch_img_metas=METAS, rescale=False, with_nms=False)
    for image, result in enumerate(results):
        expected = []
        for level, iou in zip(scores, ious):
            roots = (level[image].sigmoid() * iou[image].sigmoid()).sqrt().flatten()
            best = roots.topk(iou[image].numel()).values  # no more than the level has cells
            expected.append(best[best > 0.05])
        expected = torch.cat(expected).sort().values
        torch.testing.assert_close(result.scores.sort().values, expected, rtol=1e-5, atol=1e-6)


def test_the_score_decides_which_predictions_are_kept_first():
    model, (scores, distances, ious) = head().eval(), random_maps()
    with torch.no_grad():
        for level in ious:
            level.fill_(-20.)
        ious[0][:, :, 3, 4] = 20.  # the only place whose box is any good
    cfg = ConfigDict(model.test_cfg, nms_pre=NUM_CLASSES, score_thr=0.)
    [result, _] = model.predict_by_feat(scores, distances, ious, batch_img_metas=METAS, cfg=cfg, rescale=False,
                                        with_nms=False)
    best = result.scores.topk(NUM_CLASSES).values
    torch.testing.assert_close(best.sort().values, scores[0][0, :, 3, 4].sigmoid().sqrt().sort().values)


def test_scores_far_from_one_half_do_not_overflow():
    model, (scores, distances, ious) = head().eval(), random_maps()
    with torch.no_grad():
        scores[0][0, 0, 0, 0], ious[0][0, 0, 0, 0] = 60., 60.
        scores[0][0, 1, 0, 0], ious[0][0, 0, 0, 1] = -200., -200.
    results = model.predict_by_feat(scores, distances, ious, batch_img_metas=METAS, rescale=False, with_nms=False)
    assert all(result.scores.isfinite().all() for result in results) and results[0].scores.max() == 1


def test_points_may_stand_in_the_corners_of_their_cells():
    assert head(point_offset=0.).prior_generator.grid_priors(SIZES, device='cpu')[1][:2].tolist() == [[0, 0], [16, 0]]
    assert head().prior_generator.grid_priors(SIZES, device='cpu')[1][:2].tolist() == [[8, 8], [24, 8]]


def test_an_assigner_for_single_images_is_refused():
    with pytest.raises(ValueError, match='MaxIoUAssigner.*OTAAssigner'):
        head(train_cfg=dict(assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4)))


@pytest.mark.parametrize('name', ['ota', 'simota', 'fcos', 'atss'])
def test_the_detector_of_the_quick_start_learns(name):
    torch.manual_seed(0)
    cfg = Config.fromfile(CONFIGS / f'quickstart/{name}_r18_shapes.py')
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = Config.fromfile(CONFIGS / 'quickstart/ota_r18_shapes.py').train_dataloader.dataset
    dataset = DATASETS.build(dict(data, num_images=4, seed=5))
    batch = [dataset[index] for index in range(4)]
    batch = dict(inputs=[item['inputs'] for item in batch], data_samples=[item['data_samples'] for item in batch])
    optimizer, history = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for _ in range(12):
        data = model.data_preprocessor(batch, training=True)
        losses, _ = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        losses.backward()
        optimizer.step()
        history.append(float(losses.detach()))
    assert history[-1] < 0.8 * history[0]
