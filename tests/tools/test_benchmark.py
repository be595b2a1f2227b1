"""Every row of the benchmark at a tiny size: what it compares is equal, what it writes has the promised form."""

import json
import os
from functools import partial

import pytest
import torch
from benchmarks import (
    ROWS,
    Case,
    Contender,
    Measurement,
    Options,
    as_table,
    export,
    growth,
    measure,
    plot_growth,
)
from benchmarks.timing import max_abs_diff, peak_mib
from helpers.configs import MASK_CHANNELS
from helpers.tiny_detector import tool
from matplotlib.image import imread

from mmdet_setdet.errors import InputError

TINY = {
    'backbone.depth': 18,
    'backbone.base_channels': 16,
    'neck.in_channels': [128],
    'num_queries': 20,
    'test_cfg.max_per_img': 20,
    'encoder.num_layers': 1,
    'decoder.num_layers': 2,
}
KEYS = {'row', 'case', 'ours_ms', 'peer', 'peer_ms', 'ratio', 'max_abs_diff'}


def measured(row, model=TINY, **options):
    """All measurements of a row, by (case without its size, peer)."""
    options = Options(repeats=1, model=model, **options)
    results = [
        m
        for case in ROWS[row](options)
        for m in measure(row, case, options.repeats, options.device, warmup=0)
    ]
    for m in results:
        if m.ours_ms is None:
            assert m.ratio == pytest.approx(m.peer_peak_mib / m.ours_peak_mib)
        else:
            assert m.ours_ms > 0
            assert m.peer_ms > 0
            assert m.ratio == pytest.approx(m.peer_ms / m.ours_ms)
        assert m.as_dict().keys() >= KEYS
    return {(m.case.split(',')[0], m.peer): m.max_abs_diff for m in results}


@pytest.mark.parametrize('batch_size', [1, 3])
def test_matching_finds_the_same_matches(batch_size):
    differences = measured('matching', batch_size=batch_size)
    assert ('6 layers', 'mmdet') in differences
    assert set(differences.values()) == {0.0}


def test_train_steps_have_the_same_loss():
    differences = measured('train-step', batch_size=1, size=(64, 96))
    assert differences.pop(('DN-DETR R50', 'mmdet DAB-DETR')) is None, (
        'these two compute different things'
    )
    assert differences.pop(('DN-DETR R50', 'matrix products')) is None
    assert differences['DAB-DETR R50', 'mmdet'] < 1e-3
    assert max(differences.values()) < 1e-3


def test_loading_reads_training_and_evaluation():
    differences = measured('loading', batch_size=2, size=(96, 128))
    assert {('train pipeline', 'mmdet'), ('test pipeline', 'mmdet')} <= differences.keys()


def test_inference_has_the_same_outputs():
    differences = measured('inference', size=(64, 96))
    assert differences.pop(('DN-DETR R50', 'mmdet DAB-DETR')) is None
    for name in ('DETR R50', 'DN-DETR R50'):
        assert differences.pop((name, 'matrix products')) is None
    assert {('DETR R50', 'mmdet'), ('DAB-DETR R50', 'mmdet')} <= differences.keys()
    assert max(differences.values()) < 1e-4


def test_masks_are_those_of_the_authors(monkeypatch):
    monkeypatch.setitem(TINY, 'mask_head.in_channels', MASK_CHANNELS)
    differences = measured('masks', batch_size=1, size=(64, 96))
    assert differences.pop(('DETR R50 inference', 'ours without masks')) is None
    # What is left are the authors', where their code is.
    assert all(difference < 1e-3 for difference in differences.values())


def test_dino_equals_mmdets():
    model = {**TINY, 'neck.in_channels': [32, 64, 128]}
    differences = measured('dino', model, batch_size=1, size=(64, 96))
    assert differences['DINO R50 step', 'mmdet'] < 1e-3
    assert differences['DINO R50 inference', 'mmdet'] < 1e-4


def test_a_compiled_model_is_compared_with_its_copy(monkeypatch):
    parts = []
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda part: parts.append(type(part).__name__))
    differences = measured('compile', batch_size=1, size=(64, 64))
    assert differences.keys() == {
        (name, 'not compiled')
        for name in (
            'DN-DETR R50 training step',
            'DN-DETR R50 inference',
            'CrossFormer small forward',
            'CrossFormer small training',
        )
    }
    assert max(differences.values()) == 0
    assert parts == 2 * ['ResNet', 'DABEncoder'] + 2 * ['CrossFormer']


def test_memory_is_that_of_the_step():
    differences = measured('memory', batch_size=1, size=(64, 96))
    assert ('DN-DETR R50', 'mmdet DAB-DETR') in differences


def test_deformable_attention_equals_mmcvs():
    differences = measured('deformable-attention', batch_size=1, size=(64, 96))
    assert set(differences) == {('encoder', 'mmcv'), ('decoder', 'mmcv')}
    assert max(differences.values()) < 1e-5


def test_evaluation_has_the_figures_of_pycocotools():
    pytest.importorskip('faster_coco_eval', reason='needs faster-coco-eval')
    assert measured('evaluation', batch_size=2) == {('2 images', 'pycocotools'): 0.0}


def test_growth_varies_one_quantity_at_a_time(monkeypatch):
    for name, values in (('SIZES', [(64, 96)]), ('QUERIES', [10]), ('GT_COUNTS', [3])):
        monkeypatch.setattr(growth, name, values)
    cases = list(ROWS['growth'](Options(model=TINY, batch_size=1)))
    assert [case.at for case in cases] == [('area', 64 * 96 / 1e6), ('queries', 10), ('objects', 3)]
    result = measure('growth', cases[0], 1, 'cpu', warmup=0)[0]
    assert result.ours_ms > 0
    assert result.ours_peak_mib > 0
    assert result.as_dict()['at'] == ('area', 64 * 96 / 1e6)


def test_growth_is_drawn(tmp_path):
    results = [
        Measurement(
            'growth',
            'case',
            100.0 * x,
            peer,
            200.0 * x,
            2.0,
            None,
            ours_peak_mib=10 * x,
            peer_peak_mib=20 * x,
            at=(quantity, x),
        )
        for quantity in ('area', 'queries', 'objects')
        for x in (2, 1)
        for peer in ('mmdet', "authors'")
    ]
    plot_growth(results, tmp_path / 'new/growth.png')
    height, width, _ = imread(tmp_path / 'new/growth.png').shape
    assert width > height > 100


def test_peak_memory_is_what_lives_at_once():
    mib = 2**18  # float32 numbers in one MiB

    def run():
        held = torch.zeros(2 * mib)
        for _ in range(3):
            held = held + 1  # old and new live at once

    kept = []
    assert peak_mib(run, 'cpu') == pytest.approx(4, abs=0.1)
    assert peak_mib(lambda: kept.append(torch.zeros(mib)), 'cpu') == pytest.approx(1, abs=0.1)


def test_authors_code_is_a_peer_where_it_is():
    if 'SETDET_REF' not in os.environ:
        pytest.skip("no checkouts of the authors' code: set SETDET_REF")
    assert measured('inference', size=(64, 96))['DN-DETR R50', "authors'"] < 1e-4


def test_contenders_take_turns_and_warm_up_is_not_timed():
    calls = []
    sides = [
        Contender(name, lambda name=name: calls.append(name), lambda: [torch.zeros(1)])
        for name in 'abc'
    ]
    sides[1].outputs = lambda: [torch.tensor([0.25])]
    sides[2].outputs = None
    results = measure(
        'row', Case('case', sides[0], sides[1:], max_abs_diff), repeats=2, device='cpu', warmup=1
    )
    assert ''.join(calls) == 'abc' * 3
    assert [m.max_abs_diff for m in results] == [0.25, None]
    lines = as_table(results).splitlines()
    assert len(lines) == 3
    assert 'syncs' not in lines[0]
    assert 'MiB' not in lines[0]
    assert lines[1].endswith('2.5e-01')
    assert lines[2].endswith('-')


def test_tool_prints_a_table_and_writes_json(tmp_path, capsys):
    file = tmp_path / 'result.json'
    tool('benchmark').main(['matching', '--batch-size', '1', '--repeats', '1', '--json', str(file)])
    entries = json.loads(file.read_text())
    assert entries
    assert all(entry.keys() == KEYS for entry in entries)
    assert entries[0]['row'] == 'matching'
    assert entries[0]['max_abs_diff'] == 0
    assert 'ratio' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--size', '480'], '480x640'),
        (['--repeats', '0'], '--repeats'),
        (['--device', 'cuda'], 'GPU'),
        (['--plot', 'growth.png'], 'growth'),
    ],
)
def test_wrong_options_are_named(options, words):
    if '--device' in options and torch.cuda.is_available():
        pytest.skip('there is a GPU')
    with pytest.raises(InputError, match=words):
        tool('benchmark').main(['matching', *options])


@pytest.mark.slow
def test_exported_models_find_the_same(monkeypatch):
    for package in ('onnxscript', 'onnxruntime'):
        pytest.importorskip(package)
    monkeypatch.setattr(export, 'MODEL_PAIRS', {'DETR': ('detr_r50_150e', 'detr_r50_150e')})
    monkeypatch.setattr(export, 'RUNTIMES', {'onnx': 'ONNX Runtime'})
    # A graph of one shape is traced in a third of the time.
    of_one_shape = partial(export.export_model, dynamic=[], size=(64, 96))
    monkeypatch.setattr(export, 'export_model', of_one_shape)
    differences = measured('export', size=(64, 96))
    assert differences['DETR R50 in ONNX Runtime', 'ours in torch'] < 1e-4
    assert differences['DETR R50 in ONNX Runtime', 'mmdet detr_r50_150e'] < 1e-4
