"""Exported models compute what the models compute, at other sizes and batches than they were traced with."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.configs import REPOSITORY, small_model_cfg
from helpers.exports import FAMILIES, SIZE, small_family
from mmdet.registry import MODELS

from mmdet_setdet.commands import export
from mmdet_setdet.errors import InputError
from mmdet_setdet.export import SUFFIXES, check_file, check_request, export_model, make_graph
from mmdet_setdet.runtime import Detector
from mmdet_setdet.runtime.backends import open_session

# Each kind of layer and of head goes through ONNX once; to trace the other families is much quicker.
BY_ONNX = ('dn-detr', 'two-stage', 'atss', 'classifier')
# All of them take torch ten minutes (make test-exports); test_graphs.py tests the graphs of all.
WRITTEN = FAMILIES if os.environ.get('SETDET_TEST_EXPORTS') else ('dn-detr', 'atss')
# To trace these for all sizes takes long; deformable-detr and dn-deformable-detr have the same layers.
SLOW_TO_TRACE = ('two-stage', 'dino', 'proposals-by-transport', 'dn-deformable-encoder')
PACKAGES = dict(onnx=('onnxscript', 'onnxruntime'), openvino=('onnxscript', 'openvino'), torch=())


def export_small(family: str, folder: Path, kind: str, **options) -> tuple[Path, dict]:
    """Export the small model of a family; return the file and its differences."""
    for package in PACKAGES[kind]:
        pytest.importorskip(package)
    model, cfg = small_family(family)
    file = folder / f'model{SUFFIXES[kind]}'
    return file, export_model(model, cfg, file, kind, size=SIZE, **options)


@pytest.mark.slow
@pytest.mark.parametrize('family', WRITTEN)
def test_a_file_computes_what_its_model_computes(family, tmp_path):
    kind = 'onnx' if family in BY_ONNX else 'torch'
    dynamic = ['batch'] if family in SLOW_TO_TRACE else None
    _, differences = export_small(family, tmp_path, kind, dynamic=dynamic)
    has_fixed_size = dynamic or 'crossformer' in family or family == 'classifier'
    other = '3 x 64 x 96' if has_fixed_size else '3 x 128 x 96'
    assert set(differences) == {'2 x 64 x 96', other, '1 x 64 x 96'}
    assert max(differences.values()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['onnx', 'openvino'])
def test_the_runtime_finds_what_the_graph_finds(kind, tmp_path):
    file, differences = export_small('detr', tmp_path, kind, dynamic=['batch'], with_layers=True)
    assert max(differences.values()) < 1e-4
    detector = Detector(file, threads=1)
    assert detector.info.resize == 'detr'
    assert detector.info.classes[3] == 'class 3'
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    found = detector([image, image[:32]])[0]
    assert found.layers.boxes.shape == (2, 12, 4)

    model, _ = small_family('detr')
    pixels = (torch.from_numpy(image) - torch.tensor(detector.info.mean)) / torch.tensor(
        detector.info.std
    )
    with torch.no_grad():
        boxes, scores, _, queries = make_graph(model)(
            pixels.permute(2, 0, 1)[None], torch.tensor([SIZE])
        )
    np.testing.assert_allclose(found.scores, scores[0], atol=1e-5)
    np.testing.assert_allclose(found.boxes, boxes[0], atol=1e-2)
    assert found.queries.tolist() == queries[0].tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kind', 'precision', 'share'),
    [('onnx', 'float16', 0.65), ('onnx', 'int8', 0.65), ('openvino', 'float16', 0.6)],
)
def test_files_of_less_precision_are_smaller(kind, precision, share, tmp_path):
    file, differences = export_small('classifier', tmp_path, kind, dynamic=[], precision=precision)
    assert max(differences.values()) > 0
    assert str(REPOSITORY).encode() not in file.read_bytes()
    model, _ = small_family('classifier')
    whole = sum(weight.nbytes for weight in model.parameters())
    weights = file.with_suffix('.bin') if kind == 'openvino' else file
    assert weights.stat().st_size < share * whole


@pytest.mark.slow
def test_the_command_writes_beside_the_checkpoint_and_says_what_it_wrote(tmp_path, capsys):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    model, cfg = small_family('classifier')
    config, checkpoint = tmp_path / 'small.py', tmp_path / 'small.pth'
    cfg.dump(config)
    meta = dict(dataset_meta=dict(classes=['circle', 'square', 'star', 'moon', 'ring', 'cross']))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)
    file = export.main([str(config), str(checkpoint), '--dynamic', 'batch'])
    assert file == tmp_path / 'small.onnx'
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f'{file}: {file.stat().st_size / 2**20:.1f} MiB'
    assert any('largest difference' in line for line in lines)
    assert open_session(file).info.classes == meta['dataset_meta']['classes']


def test_a_precision_that_a_format_has_not_is_refused():
    for kind, precision in (('torch', 'float16'), ('openvino', 'int8')):
        with pytest.raises(InputError, match='can only write'):
            check_request(kind, Path(f'model{SUFFIXES[kind]}'), precision)


def test_padding_counts_in_the_file_as_in_the_model():
    graph = make_graph(small_family('dn-detr')[0], raw=True)
    images = torch.randn(1, 3, 96, 128)
    whole, padded = torch.tensor([[96, 128]]), torch.tensor([[64, 96]])
    with torch.no_grad():
        (one, _), (other, _) = graph(images, whole), graph(images, padded)
    assert (one - other).abs().max() > 1e-3


def test_a_wrong_file_is_an_error():
    graph = make_graph(small_family('detr')[0])

    def run(images, sizes):
        with torch.no_grad():
            outputs = graph(torch.from_numpy(images) + 0.1, torch.from_numpy(sizes))
        return {key: value.numpy() for key, value in zip(graph.outputs, outputs)}

    with pytest.raises(InputError, match='must not be used'):
        check_file(graph, run, SIZE, ('batch',), 'model.onnx')


def test_what_cannot_be_exported_is_refused_before_any_work(tmp_path):
    model, cfg = small_family('detr')
    with pytest.raises(InputError, match=r'ends in \.pt2'):
        export_model(model, cfg, tmp_path / 'model.onnx', 'torch')
    with pytest.raises(InputError, match='cannot be exported'):
        export_model(torch.nn.Linear(2, 2), cfg, tmp_path / 'model.pt2', 'torch')
    with_masks = MODELS.build(small_model_cfg('detr_r50_panoptic.py'))
    with pytest.raises(InputError, match='mask head'):
        export_model(with_masks, cfg, tmp_path / 'model.pt2', 'torch')
    with pytest.raises(InputError, match='only batch may change'):
        make_graph(small_family('dn-detr-crossformer')[0]).choose_dynamic(['height'])
