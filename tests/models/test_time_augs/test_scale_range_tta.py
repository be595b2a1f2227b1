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

from mmdet_setdet.models.test_time import ScaleRangeTTA, soft_vote

SMALL = dict(depth=50, groups=4, base_channels=16)


class Detector(nn.Module):
    """Stands for a model that is built."""

    def test_step(self, data):
        return data


def merged(found, ranges=cases.RANGES, **options):
    """What ScaleRangeTTA makes of six views, mirrored every other one."""
    views = [DetDataSample(pred_instances=one, metainfo=dict(
        img_path='a.jpg', ori_shape=cases.IMAGE_SIZE, flip=bool(view % 2), flip_direction='horizontal'))
        for view, one in enumerate(found)]
    [result] = ScaleRangeTTA(Detector(), ranges, **options).merge_preds([views])
    return result.pred_instances


def test_equals_the_authors():
    expected, got = cases.load('tta'), merged(cases.views())
    assert len(expected['scores']) == 100 and len(set(expected['labels'])) == 8
    # They move the boxes of each class apart, far from zero, which costs digits of a box and of its IoU.
    np.testing.assert_allclose(got.scores, expected['scores'], atol=2e-5)
    np.testing.assert_allclose(got.bboxes, expected['bboxes'], atol=2e-3)
    assert got.labels.tolist() == expected['labels'].tolist()


def test_vote_by_hand():
    boxes = torch.tensor([[0., 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 8], [50, 50, 60, 60]])
    scores, labels = torch.tensor([0.6, 0.3, 0.2, 0.9]), torch.tensor([1, 1, 0, 1])
    found, kept, classes = soft_vote(boxes, scores, labels)
    assert classes.tolist() == [1, 1, 0, 1]
    # The second joins the first at IoU 0.8; what is left of it is 0.3 * 0.2.
    torch.testing.assert_close(kept, torch.tensor([0.9, 0.6, 0.2, 0.06]))
    torch.testing.assert_close(found[1], torch.tensor([0, 0, 10, (10 * 0.6 + 8 * 0.3) / 0.9]))
    torch.testing.assert_close(found[[0, 2, 3]], boxes[[3, 2, 1]])
    assert len(soft_vote(boxes, scores, labels, score_threshold=0.07)[0]) == 3
    assert len(soft_vote(boxes, scores, labels, iou_threshold=0.81)[0]) == 4
    nothing = soft_vote(boxes[:0], scores[:0], labels[:0])
    assert [len(part) for part in nothing] == [0, 0, 0] and nothing[2].dtype == torch.long


def test_sizes_outside_the_range_of_a_view_do_not_count():
    box = InstanceData(bboxes=torch.tensor([[0., 0, 50, 50]]), scores=torch.tensor([0.5]), labels=torch.tensor([3]))
    nothing = box[:0]
    for range_, expected in (((0, 49), 0), ((0, 51), 1), ((51, 100), 0), ((49, 100), 1)):
        found = merged([box, nothing], [range_])
        assert len(found) == expected
    mirrored = merged([nothing, box], [(0, 100)])
    assert mirrored.bboxes.tolist() == [[590, 0, 640, 50]]
    assert len(merged([nothing, nothing], [(0, 100)])) == 0
    assert len(merged(cases.views(), max_per_img=7)) == 7


def test_views_must_fit_the_ranges():
    with pytest.raises(ValueError, match='6 views of a.jpg cannot be shared out among 4 scale_ranges; tta_pipeline m'):
        merged(cases.views(), [(0, 1)] * 4)
    with pytest.raises(ValueError, match='test_cfg is for a model that is not built yet'):
        merged(cases.views(), test_cfg=dict(max_per_img=3))


def small_config(folder, root):
    """The config with test-time augmentation, narrow and for images of 64 pixels; its model and its path."""
    cfg = Config.fromfile(CONFIGS / 'ota_x101_dcn_fpn_2x.py')
    cfg.model.backbone.update(init_cfg=None, **SMALL)
    cfg.model.neck.update(in_channels=[128, 256, 512], out_channels=32)
    cfg.model.bbox_head.update(
        num_classes=3, in_channels=32, feat_channels=32, stacked_convs=1, norm_cfg=dict(type='GN', num_groups=8))
    cfg.model.test_cfg.score_thr = 0.
    data = dict(type='CocoDataset', data_root=f'{root}/', ann_file='annotations.json', data_prefix=dict(img='images/'),
                metainfo=dict(classes=('circle', 'square', 'star')), test_mode=True)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.test_dataloader.dataset = dict(**data, pipeline=cfg.test_dataloader.dataset.pipeline)
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
    tool('test').main([path, str(tmp_path / 'weights.pth'), '--tta', '--work-dir', str(tmp_path),
                       '--out', str(tmp_path / 'found.pkl')])
    [found] = pickle.loads((tmp_path / 'found.pkl').read_bytes())
    assert (found['pred_instances']['bboxes'] <= 64).all()
    assert 100 < len(found['pred_instances']['scores']) <= 300 == cfg.tta_model.test_cfg.max_per_img
    views = [step['transforms'] for step in cfg.tta_pipeline if step.type == 'TestTimeAug'][0]
    assert len(views[0]) * len(views[1]) == 26 == 2 * len(cfg.tta_model.scale_ranges)
