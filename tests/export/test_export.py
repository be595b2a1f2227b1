"""Exported models compute what the models compute, at other sizes and batches than they were traced with."""

import numpy as np
import pytest
import torch
from helpers.configs import CONFIGS, small_model_cfg
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_setdet.errors import InputError
from mmdet_setdet.export import check_file, export_model, make_graph, trace
from mmdet_setdet.runtime import Detector

EVERYTHING = ('batch', 'height', 'width')
FAMILIES = ['detr_r50_500e', 'dn_detr_r50_50e', 'dn_deformable_detr_r50_50e']


def small_model(name):
    torch.manual_seed(0)
    layers = {'encoder.num_layers': 1, 'decoder.num_layers': 1}
    model = MODELS.build(small_model_cfg(f'{name}.py', **layers))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.xavier_normal_(parameter)
    return model.eval()


@pytest.mark.parametrize('name', FAMILIES)
def test_a_graph_is_right_at_other_sizes_and_batches(name):
    graph = make_graph(small_model(name))
    size = (96, 128)
    module = trace(graph, size, EVERYTHING).module()

    def run(**arrays):
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        with torch.no_grad():
            return {key: value.numpy() for key, value in zip(graph.outputs, module(**tensors))}

    differences = check_file(graph, run, size, EVERYTHING, name)
    assert set(differences) == {'2 x 96 x 128', '3 x 160 x 128', '1 x 96 x 128'}


def test_padding_counts_in_the_file_as_in_the_model():
    graph = make_graph(small_model('dn_detr_r50_50e'), raw=True)
    images = torch.randn(1, 3, 96, 128)
    whole, padded = torch.tensor([[96, 128]]), torch.tensor([[64, 96]])
    with torch.no_grad():
        (one, _), (other, _) = graph(images, whole), graph(images, padded)
    assert (one - other).abs().max() > 1e-3


def test_a_wrong_file_is_an_error():
    graph = make_graph(small_model('detr_r50_500e'))

    def run(images, sizes):
        with torch.no_grad():
            outputs = graph(torch.from_numpy(images) + 0.1, torch.from_numpy(sizes))
        return {key: value.numpy() for key, value in zip(graph.outputs, outputs)}

    with pytest.raises(InputError, match='must not be used'):
        check_file(graph, run, (96, 128), ('batch',), 'model.onnx')


@pytest.mark.slow
def test_the_runtime_finds_what_the_model_finds(tmp_path):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    cfg = Config.fromfile(CONFIGS / 'dn_detr_r50_50e.py')
    model = small_model('dn_detr_r50_50e')
    model.dataset_meta = dict(classes=[f'class {index}' for index in range(80)])
    file = tmp_path / 'model.onnx'
    differences = export_model(model, cfg, file, with_layers=True)
    assert max(differences.values()) < 1e-4
    detector = Detector(file, threads=1)
    assert detector.info.resize == 'detr'
    assert detector.info.classes[3] == 'class 3'
    found = detector([torch.zeros(50, 70, 3, dtype=torch.uint8).numpy()])[0]
    assert len(found) == 300 or len(found) == len(found.queries)
    assert found.layers.boxes.shape[1:] == (20, 4)
    assert len(found.layers.attention) == len(found)
    np.testing.assert_allclose(found.layers.attention.sum((1, 2)), 1, atol=1e-5)
    assert found.boxes.max() <= 70


def test_what_cannot_be_exported_is_refused_before_any_work(tmp_path):
    cfg = Config.fromfile(CONFIGS / 'detr_r50_500e.py')
    model = small_model('detr_r50_500e')
    with pytest.raises(InputError, match=r'ends in \.pt2'):
        export_model(model, cfg, tmp_path / 'model.onnx', 'torch')
    with pytest.raises(InputError, match='cannot be exported'):
        export_model(torch.nn.Linear(2, 2), cfg, tmp_path / 'model.pt2', 'torch')
