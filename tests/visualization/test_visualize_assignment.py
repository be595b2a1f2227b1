"""Who gets what: the picture shows what training assigns, says it in numbers, and refuses what it cannot show."""

import cv2
import numpy as np
import pytest
import torch
from helpers.configs import CONFIGS, SMALL
from helpers.tiny_detector import tool, write_annotations, write_config, write_dataset
from matplotlib.colors import to_rgb
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment

from mmdet_setdet.engine.models import build_model
from mmdet_setdet.errors import InputError
from mmdet_setdet.models.assignment import exact_transport
from mmdet_setdet.visualization.assignments import (
    AssignerResult,
    PointPredictions,
    allowed_assigners,
    draw_assignments,
    labelled_images,
    predict,
)
from mmdet_setdet.visualization.assignments.drawing import colour_of

GIOU = dict(type='GIoULoss', loss_weight=2.0)
GN = dict(type='GN', num_groups=4)
TOWERS = dict(num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1)
POINTS = dict(type='MlvlPointGenerator', offset=0, strides=[8, 16])
QUALITY = dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0)
DELTAS = dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2])
SQUARES = dict(
    type='AnchorGenerator', ratios=[1.0], octave_base_scale=3, scales_per_octave=1, strides=[8, 16]
)
HEADS = {
    'OTAHead': ('ota', dict(TOWERS, strides=[8, 16], norm_cfg=GN)),
    'YOLOXHead': (
        'simota',
        dict(TOWERS, strides=[8, 16], train_cfg=dict(assigner=dict(type='SimOTAAssigner'))),
    ),
    'ATSSHead': (
        'atss',
        dict(
            TOWERS,
            norm_cfg=GN,
            anchor_generator=SQUARES,
            bbox_coder=DELTAS,
            loss_bbox=GIOU,
            train_cfg=dict(
                assigner=dict(type='ATSSAssigner', topk=4), allowed_border=-1, pos_weight=-1
            ),
        ),
    ),
    'RTMDetHead': (
        'ota',
        dict(
            TOWERS,
            norm_cfg=GN,
            with_objectness=False,
            anchor_generator=POINTS,
            loss_cls=QUALITY,
            bbox_coder=dict(type='DistancePointBBoxCoder'),
            loss_bbox=GIOU,
            train_cfg=dict(
                assigner=dict(type='OTAAssigner'), allowed_border=-1, pos_weight=-1, debug=False
            ),
        ),
    ),
}
OBJECTS = InstanceData(
    bboxes=torch.tensor(
        [[4.0, 6.0, 40.0, 44.0], [20.0, 10.0, 62.0, 40.0], [30.0, 34.0, 60.0, 62.0]]
    ),
    labels=torch.tensor([0, 2, 1]),
)


def head_and_feats(kind):
    head = MODELS.build(dict(type=kind, **HEADS[kind][1]))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return head, tuple(torch.randn(1, 16, side, side, generator=generator) for side in (8, 4))


@pytest.mark.parametrize('kind', HEADS)
def test_what_is_shown_is_what_training_assigns(kind, monkeypatch):
    head, feats = head_and_feats(kind)
    seen, name = [], 'assign_batch' if kind == 'OTAHead' else 'assign'
    assign = getattr(head.assigner, name)

    def listen(*args, **kwargs):
        seen.append(assign(*args, **kwargs).gt_inds.flatten())
        return assign(*args, **kwargs)

    monkeypatch.setattr(head.assigner, name, listen)
    meta = dict(
        img_shape=(64, 64), pad_shape=(64, 64), batch_input_shape=(64, 64), scale_factor=(1.0, 1.0)
    )
    head.train(kind == 'OTAHead')  # the others' batch norm would see another batch
    with torch.no_grad():
        head.loss(feats, [DetDataSample(metainfo=meta, gt_instances=OBJECTS)])
    monkeypatch.undo()
    with torch.no_grad():
        shown = PointPredictions(head.eval(), feats).compare([HEADS[kind][0]], OBJECTS)[0]
    np.testing.assert_array_equal(shown.gt_index, seen[0].numpy() - 1)
    assert (shown.gt_index >= 0).sum() >= 3


def test_all_assigners_on_one_scale_of_costs():
    head, feats = head_and_feats('OTAHead')
    with torch.no_grad():
        predictions = PointPredictions(head.eval(), feats, anchor_scale=3)
        found = predictions.compare(predictions.assigners, OBJECTS)
        pairs, background = predictions.ota_costs(OBJECTS)
    assert [each.name for each in found] == ['OTA', 'SimOTA', 'ATSS', 'Hungarian']
    for each in found:
        own = each.gt_index >= 0
        np.testing.assert_array_equal(
            each.costs[own], pairs.numpy()[each.gt_index[own], own.nonzero()[0]]
        )
        assert not each.costs[~own].any()
    hungarian = found[-1].gt_index
    assert np.bincount(hungarian[hungarian >= 0]).tolist() == [1, 1, 1]
    # Matching is the transport problem with one unit for each object.
    inside = head.assigner.center_prior(predictions.priors, OBJECTS.bboxes[None])[0]
    costs = torch.cat([pairs + 1e6 * ~inside, background[None]])
    supply = torch.tensor([1.0, 1.0, 1.0, len(background) - 3])
    plan = exact_transport(costs, supply, torch.ones(len(background)))
    np.testing.assert_array_equal(np.where(hungarian < 0, 3, hungarian), plan.argmax(0).numpy())


def panel_colours(picture, panels, index):
    """How many pixels of each panel have an object's colour."""
    near = np.abs(picture[..., ::-1] / 255 - to_rgb(colour_of(index))).max(-1) < 0.06
    return [int(part.sum()) for part in np.array_split(near, panels, axis=1)]


def test_each_panel_shows_its_own_dots(tmp_path):
    image = np.full((64, 64, 3), 128, np.uint8)
    points = (
        np.stack(np.meshgrid(np.arange(4, 64, 8), np.arange(4, 64, 8)), -1)
        .reshape(-1, 2)
        .astype(float)
    )
    boxes = np.array([[2.0, 2.0, 30.0, 30.0], [30.0, 30.0, 62.0, 62.0]])
    few, many = np.full(64, -1), np.full(64, -1)
    few[[0, 63]] = 0, 1
    many[:20], many[63] = 0, 1
    assigned = [AssignerResult('few', few, np.ones(64)), AssignerResult('many', many, np.ones(64))]
    draw_assignments(
        image,
        boxes,
        points,
        assigned,
        tmp_path / 'new' / 'a.png',
        strides=np.full(64, 8.0),
        title='t',
    )
    picture = cv2.imread(str(tmp_path / 'new' / 'a.png'))
    first, second = panel_colours(picture, 2, 0), panel_colours(picture, 2, 1)
    assert first[1] > 1.3 * first[0] > 0, 'more dots for the first object on the right'
    assert abs(second[1] - second[0]) < 0.05 * second[0], 'as many for the second'
    assert min(picture.shape[:2]) > 450, 'small images are enlarged'
    with pytest.raises(ValueError, match='nothing to draw'):
        draw_assignments(image, boxes[:0], points, assigned, tmp_path / 'b.png')


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """An OTA of two levels on five images in COCO's layout; the fourth has a crowd besides, the fifth nothing."""
    folder = tmp_path_factory.mktemp('ota')
    coco = write_dataset(folder / 'data')
    crowd = dict(coco['annotations'][0], id=99, image_id=4, iscrowd=1)
    kept = [each for each in coco['annotations'] if each['image_id'] != 5]
    write_annotations(folder / 'data', dict(coco, annotations=[*kept, crowd]))
    write_config(folder, folder / 'data')
    path = folder / 'tiny_ota.py'
    path.write_text(
        "_base_ = 'tiny.py'\n"
        "model = dict(type='FCOS', train_cfg=None, bbox_head=dict(_delete_=True, type='OTAHead', num_classes=3,\n"
        '    in_channels=16, feat_channels=16, stacked_convs=1, strides=[16, 32],\n'
        "    norm_cfg=dict(type='GN', num_groups=4)))\n"
    )
    return str(path)


def test_the_tool_draws_and_tells(config, tmp_path, capsys):
    checkpoint = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=build_model(Config.fromfile(config).model).state_dict()), checkpoint)
    pictures = tool('analysis_tools/visualize_assignment').main(
        [config, str(checkpoint), '--image', '3.jpg', '0', '--out-dir', str(tmp_path)]
    )
    assert [picture.name for picture in pictures] == ['3_assignment.png', '1_assignment.png']
    three, one = (cv2.imread(str(picture)) for picture in pictures)
    assert three.shape[1] > 4 * 450, 'four panels'
    assert three.shape[0] > one.shape[0], 'a row more for three objects'
    text = capsys.readouterr().out
    assert '3.jpg: 3 objects' in text
    assert '1.jpg: 1 objects' not in text
    assert '1.jpg: 1 object\n' in text
    lines = [line.split() for line in text.split('1.jpg: ')[0].splitlines() if 'Hungarian' in line]
    assert [line[1] for line in lines] == ['1', '1', '1'], 'Hungarian matching: one for each object'
    assert all(len(line) == 4 and line[3].endswith(':1') for line in lines)


def test_the_first_images_with_objects_and_chosen_assigners(config, tmp_path):
    arguments = [config, '--assigner', 'atss', '--out-dir', str(tmp_path)]
    pictures = tool('analysis_tools/visualize_assignment').main(arguments)
    assert [picture.name[0] for picture in pictures] == ['1', '2', '3', '4']
    assert cv2.imread(str(pictures[0])).shape[1] < 2 * 450


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ['--image', 'no.jpg'],
            '--image no.jpg: not in the data set of 5 images; .* such as 1.jpg, or .* from 0 to 4',
        ),
        (['--image', '5'], '--image 5: not in the data set'),
        (['--image', '5.jpg'], '--image 5.jpg: .*images/5.jpg has no object'),
        (
            ['--assigner', 'auction'],
            '--assigner auction: OTAHead predicts from points, .*: ota, simota, atss, hungarian',
        ),
        (['--split', 'val'], 'tiny_ota.py: has no val_dataloader; choose another --split'),
        (
            ['--cfg-options', 'train_dataloader.dataset.metainfo.classes=["circle"]'],
            'model.bbox_head.num_classes is 3',
        ),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(config, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        tool('analysis_tools/visualize_assignment').main(
            [config, '--out-dir', str(tmp_path), *arguments]
        )


def test_heads_that_are_not_known(config):
    retina = Config.fromfile(config.replace('tiny_ota', 'tiny')).model
    with pytest.raises(
        InputError,
        match='RetinaNet with RetinaHead: assignments can be drawn .*DETR family.*OTAHead',
    ):
        allowed_assigners(MODELS.build(retina))
    with pytest.raises(InputError, match='Sequential with no bbox_head'):
        allowed_assigners(torch.nn.Sequential())


def test_boxes_follow_the_image_and_crowds_are_left_out(config):
    cfg = Config.fromfile(config)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    load, annotations, resize, pack = cfg.test_dataloader.dataset.pipeline
    # As in mmdet's configs of tests, whose boxes stay in the units of the file.
    pipeline = [load, dict(resize, scale=(128, 128)), annotations, pack]
    (image,) = labelled_images(dataset, pipeline, ['4.jpg'])
    raw = dataset.get_data_info(3)['instances']
    assert len(raw) == 2
    assert len(image.gts) == 1
    assert image.gts.bboxes[0].tolist() == [2 * value for value in raw[0]['bbox']]
    assert image.pixels.shape == (128, 128, 3)


@pytest.mark.parametrize('whose', ['ours', "mmdet's"])
def test_queries_of_a_detr(whose):
    cfg = Config.fromfile(CONFIGS / 'quickstart/detr_r18_shapes.py')
    if whose == "mmdet's":
        cfg.model = get_config('mmdet::detr/detr_r50_8xb2-150e_coco.py').model
        cfg.merge_from_dict({**SMALL, 'model.bbox_head.num_classes': 6})
    model = build_model(cfg.model).eval()
    assert type(model).__module__.startswith('mmdet.') == (whose == "mmdet's")
    assert allowed_assigners(model) == ('hungarian', 'ota')
    with pytest.raises(InputError, match='--assigner atss: DETRHead predicts from queries'):
        allowed_assigners(model, ['atss'])
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, num_images=3))
    image = next(labelled_images(dataset, cfg.test_dataloader.dataset.pipeline))
    predictions = predict(model, image.packed)
    matched, transported = predictions.compare(('hungarian', 'ota'), image.gts)
    assert np.bincount(matched.gt_index[matched.gt_index >= 0]).tolist() == [1] * len(image.gts)
    assert (transported.gt_index >= 0).any()
    assert predictions.strides is None
    # The matching is the model's own, and no other one to one is cheaper.
    costs = predictions.costs(image.gts).numpy()
    assert matched.costs.sum() == pytest.approx(costs[linear_sum_assignment(costs)].sum(), abs=1e-5)
