"""Test-time augmentation of dense detectors: against the authors' code, by hand, and through tools/test.py."""

import pickle

import numpy as np
import pytest
import torch
from golden import ota_head_cases as cases
from helpers.configs import CONFIGS
from helpers.tiny_detector import new_name, tool, write_dataset
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import nn

from mmdet_setdet.errors import InputError
from mmdet_setdet.models.test_time_augs import ScaleRangeTTA, soft_vote

SMALL_BACKBONE = dict(depth=50, groups=4, base_channels=16, init_cfg=None)


class BuiltDetector(nn.Module):
    """Stands for a detector that is already built."""

    def test_step(self, data):
        return data


def merge_views(instances, scale_ranges=cases.RANGES, **options):
    """Merge the instances of views, every other of which is mirrored."""
    views = []
    for index, view in enumerate(instances):
        meta = dict(
            img_path='a.jpg',
            ori_shape=cases.IMAGE_SIZE,
            flip=bool(index % 2),
            flip_direction='horizontal',
        )
        views.append(DetDataSample(pred_instances=view, metainfo=meta))
    [result] = ScaleRangeTTA(BuiltDetector(), scale_ranges, **options).merge_preds([views])
    return result.pred_instances


def test_equals_the_authors():
    expected = cases.load('tta')
    merged = merge_views(cases.views())
    assert len(expected['scores']) == 100
    assert len(set(expected['labels'])) == 8
    # They move the boxes of each class apart, far from zero, which costs digits of a box and of its IoU.
    np.testing.assert_allclose(merged.scores, expected['scores'], atol=2e-5)
    np.testing.assert_allclose(merged.bboxes, expected['bboxes'], atol=2e-3)
    assert merged.labels.tolist() == expected['labels'].tolist()


class TestSoftVote:
    bboxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 8], [50, 50, 60, 60]])
    scores = torch.tensor([0.6, 0.3, 0.2, 0.9])
    labels = torch.tensor([1, 1, 0, 1])

    def test_boxes_that_overlap_are_merged_within_their_class(self):
        bboxes, scores, labels = soft_vote(self.bboxes, self.scores, self.labels)
        assert labels.tolist() == [1, 1, 0, 1]
        # The first collects the second at IoU 0.8, which leaves 0.3 * 0.2 to the second.
        torch.testing.assert_close(scores, torch.tensor([0.9, 0.6, 0.2, 0.06]))
        mean_bottom = (10 * 0.6 + 8 * 0.3) / 0.9
        torch.testing.assert_close(bboxes[1], torch.tensor([0, 0, 10, mean_bottom]))
        torch.testing.assert_close(bboxes[[0, 2, 3]], self.bboxes[[3, 2, 1]])

    def test_collected_boxes_below_the_score_threshold_are_dropped(self):
        bboxes, _, _ = soft_vote(self.bboxes, self.scores, self.labels, score_threshold=0.07)
        assert len(bboxes) == 3

    def test_boxes_below_the_iou_threshold_stay_apart(self):
        bboxes, scores, _ = soft_vote(self.bboxes, self.scores, self.labels, iou_threshold=0.81)
        assert len(bboxes) == 4
        assert 0.3 in scores

    def test_no_boxes(self):
        bboxes, scores, labels = soft_vote(self.bboxes[:0], self.scores[:0], self.labels[:0])
        assert (len(bboxes), len(scores), len(labels)) == (0, 0, 0)
        assert labels.dtype == torch.long


ONE_BOX = InstanceData(
    bboxes=torch.tensor([[0.0, 0, 50, 50]]), scores=torch.tensor([0.5]), labels=torch.tensor([3])
)
NO_BOX = ONE_BOX[:0]


@pytest.mark.parametrize(
    ('scale_range', 'count'), [((0, 49), 0), ((0, 51), 1), ((51, 100), 0), ((49, 100), 1)]
)
def test_boxes_outside_of_a_views_range_are_dropped(scale_range, count):
    assert len(merge_views([ONE_BOX, NO_BOX], [scale_range])) == count


def test_boxes_of_a_mirrored_view_are_mirrored_back():
    merged = merge_views([NO_BOX, ONE_BOX], [(0, 100)])
    assert merged.bboxes.tolist() == [[590, 0, 640, 50]]


def test_no_detections_at_all():
    assert len(merge_views([NO_BOX, NO_BOX], [(0, 100)])) == 0


def test_number_of_detections_is_limited():
    assert len(merge_views(cases.views(), max_per_img=7)) == 7


def test_views_must_fit_the_ranges():
    message = '6 views of a.jpg cannot be divided among 4 scale_ranges; tta_pipeline must'
    with pytest.raises(InputError, match=message):
        merge_views(cases.views(), [(0, 1)] * 4)


def test_test_cfg_is_refused_for_a_built_model():
    with pytest.raises(InputError, match='test_cfg is for a model that is not built yet'):
        merge_views(cases.views(), test_cfg=dict(max_per_img=3))


def small_config(folder, root):
    """Write the config with test-time augmentation, narrow and for images of 64 pixels; return it and its path."""
    cfg = Config.fromfile(CONFIGS / 'ota_x101_dcn_fpn_2x.py')
    cfg.model.backbone.update(SMALL_BACKBONE)
    cfg.model.neck.update(in_channels=[128, 256, 512], out_channels=32)
    cfg.model.bbox_head.update(
        num_classes=3,
        in_channels=32,
        feat_channels=32,
        stacked_convs=1,
        norm_cfg=dict(type='GN', num_groups=8),
    )
    cfg.model.test_cfg.score_thr = 0.0
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.test_dataloader.dataset = dict(
        type='CocoDataset',
        data_root=f'{root}/',
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('circle', 'square', 'star')),
        test_mode=True,
        pipeline=cfg.test_dataloader.dataset.pipeline,
    )
    cfg.test_evaluator.ann_file = f'{root}/annotations.json'
    for resize in cfg.tta_pipeline[1].transforms[0]:
        resize.scale = tuple(side // 25 for side in resize.scale)
    cfg.experiment_name = new_name()
    cfg.dump(folder / 'small.py')
    return cfg, str(folder / 'small.py')


def test_by_the_test_tool(tmp_path):
    write_dataset(tmp_path / 'data', 1)
    cfg, path = small_config(tmp_path, tmp_path / 'data')
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    results = tmp_path / 'results.pkl'
    weights = str(tmp_path / 'weights.pth')
    tool('test').main([path, weights, '--tta', '--work-dir', str(tmp_path), '--out', str(results)])
    [result] = pickle.loads(results.read_bytes())
    assert (result['pred_instances']['bboxes'] <= 64).all()
    assert cfg.tta_model.test_cfg.max_per_img == 300
    assert 100 < len(result['pred_instances']['scores']) <= 300


def test_the_published_config_has_a_range_per_size():
    cfg = Config.fromfile(CONFIGS / 'ota_x101_dcn_fpn_2x.py')
    [transforms] = [step.transforms for step in cfg.tta_pipeline if step.type == 'TestTimeAug']
    sizes, flips = transforms[:2]
    assert len(flips) == 2
    assert len(sizes) == len(cfg.tta_model.scale_ranges) == 13
