"""The graph of every family finds what its model finds in padded images."""

import numpy as np
import pytest
import torch
from helpers.exports import FAMILIES, small_family
from mmdet.structures import DetDataSample

from mmdet_setdet.errors import InputError
from mmdet_setdet.export import make_graph
from mmdet_setdet.export.check import difference
from mmdet_setdet.export.describe import describe
from mmdet_setdet.runtime import dense

INPUT = (96, 128)
SIZES = [(96, 96), (64, 128)]


def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(len(SIZES), 3, *INPUT)
    samples = []
    for image, (height, width) in zip(images, SIZES):
        image[:, :height, :width] = torch.randn(3, height, width, generator=generator)
        metainfo = dict(
            img_shape=(height, width),
            ori_shape=(height, width),
            batch_input_shape=INPUT,
            scale_factor=(1.0, 1.0),
        )
        samples.append(DetDataSample(metainfo=metainfo))
    return images, samples


def outputs_of(graph, *inputs):
    outputs = dict(zip(graph.outputs, graph(*inputs)))
    return {name: output.numpy() for name, output in outputs.items()}


@pytest.mark.parametrize('family', [name for name in FAMILIES if name != 'classifier'])
@torch.no_grad()
def test_a_graph_finds_what_its_model_finds(family):
    model, cfg = small_family(family)
    images, samples = batch()
    graph = make_graph(model)
    outputs = outputs_of(graph, images, torch.tensor(SIZES))
    nms = describe(cfg, graph, ['class']).nms
    for index, result in enumerate(model.predict(images, samples, rescale=False)):
        found = result.pred_instances
        assert len(found) >= 10
        expected = dict(boxes=found.bboxes, scores=found.scores, labels=found.labels)
        expected = {name: values.numpy() for name, values in expected.items()}
        actual = {name: values[index] for name, values in outputs.items()}
        if nms is not None:
            actual = dense.select(actual, INPUT, SIZES[index], nms)
        assert len(actual['scores']) == len(expected['scores'])
        one, other = (
            {name: values[None] for name, values in x.items()} for x in (expected, actual)
        )
        assert difference(one, other, max(INPUT)) < 1e-4


@torch.no_grad()
def test_the_runtime_leaves_out_the_duplicates_that_the_model_leaves_out():
    model, cfg = small_family('dn-detr')
    graph = make_graph(model)
    assert describe(cfg, graph, ['class']).max_overlap is None
    model.bbox_head.test_cfg['nms'] = dict(type='nms', iou_threshold=0.3)
    max_overlap = describe(cfg, graph, ['class']).max_overlap
    assert describe(cfg, make_graph(model, raw=True), ['class']).max_overlap is None
    images, samples = batch()
    outputs = outputs_of(graph, images, torch.tensor(SIZES))
    for index, result in enumerate(model.predict(images, samples, rescale=False)):
        found = result.pred_instances
        actual = {name: values[index] for name, values in outputs.items()}
        number_of_results = len(actual['scores'])
        actual = dense.without_duplicates(actual, max_overlap)
        assert 5 < len(found) < number_of_results
        np.testing.assert_allclose(actual['boxes'], found.bboxes, atol=1e-3)
        np.testing.assert_allclose(actual['scores'], found.scores, atol=1e-5)
        assert actual['labels'].tolist() == found.labels.tolist()


@pytest.mark.parametrize('change', [dict(type='soft_nms'), dict(class_agnostic=True)], ids=str)
def test_what_the_runtime_cannot_suppress_is_refused(change):
    model, cfg = small_family('dn-detr')
    model.bbox_head.test_cfg['nms'] = {'type': 'nms', 'iou_threshold': 0.3, **change}
    with pytest.raises(InputError, match='nms=.* cannot be exported'):
        describe(cfg, make_graph(model), ['class'])


@torch.no_grad()
def test_the_classifiers_graph_returns_its_scores():
    model, _ = small_family('classifier')
    images, _ = batch()
    [scores] = make_graph(model)(images)
    expected = [sample.pred_scores for sample in model(images, mode='predict')]
    np.testing.assert_allclose(scores, torch.stack(expected), atol=1e-6)
