"""``tools/test.py`` evaluates an exported detector as it does a checkpoint."""

import pickle

import pytest
import torch
from helpers.tiny_detector import CLASSES, new_name, tool, write_config, write_dataset
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_setdet.engine import ExportedDetector
from mmdet_setdet.engine.models import build_model
from mmdet_setdet.errors import InputError
from mmdet_setdet.export import export_model
from mmdet_setdet.export.check import difference


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """A config, a checkpoint and an exported file of the same weights."""
    for package in ('onnxscript', 'onnxruntime'):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp('exported')
    write_dataset(folder / 'data')
    config = write_config(folder, folder / 'data')
    cfg = Config.fromfile(config)
    init_default_scope('mmdet')
    model = build_model(cfg.model).eval()
    # So that scores differ from each other.
    torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.3)
    model.dataset_meta = dict(classes=CLASSES)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'tiny.pth')
    export_model(model, cfg, folder / 'tiny.onnx', dynamic=['batch'], size=(64, 64))
    return folder, config


def predictions(folder, config, name):
    out = folder / f'{name}.pkl'
    options = ['--cfg-options', f'experiment_name={new_name()}']
    metrics = tool('test').main(
        [config, str(folder / name), '--out', str(out), '--work-dir', str(folder), *options]
    )
    with out.open('rb') as file:
        return metrics, pickle.load(file)


def found(prediction):
    instances = prediction['pred_instances']
    assert len(instances['scores']) == 20
    fields = dict(boxes='bboxes', scores='scores', labels='labels')
    return {name: instances[field][None].numpy() for name, field in fields.items()}


@pytest.mark.slow
def test_an_exported_detector_is_tested_like_its_checkpoint(tiny):
    expected_metrics, expected = predictions(*tiny, 'tiny.pth')
    metrics, actual = predictions(*tiny, 'tiny.onnx')
    assert metrics == pytest.approx(expected_metrics, abs=1e-3)
    for one, other in zip(actual, expected, strict=True):
        assert difference(found(other), found(one), side=64) < 1e-4


@pytest.mark.slow
def test_what_an_exported_detector_cannot_do_is_refused(tiny):
    folder, config = tiny
    file = str(folder / 'tiny.onnx')
    with pytest.raises(InputError, match='neither --amp nor --tta'):
        tool('test').main([config, file, '--tta'])
    with pytest.raises(InputError, match='exported with 3 classes, and the config has 5'):
        ExportedDetector(file, num_classes=5)
