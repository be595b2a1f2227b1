"""The quick start: the precision that it trains in."""

import pytest
from helpers.tiny_detector import tool

QUICKSTART = tool('quickstart/quickstart')


@pytest.mark.parametrize(
    ('precision', 'device', 'native', 'expected'),
    [
        ('auto', 'cpu', True, True),
        ('auto', 'cpu', False, False),
        ('auto', 'cuda', True, False),
        ('float32', 'cpu', True, False),
        ('bfloat16', 'cpu', False, True),
    ],
)
def test_bfloat16_by_itself_where_the_cpu_has_it(monkeypatch, precision, device, native, expected):
    monkeypatch.setattr(QUICKSTART, 'get_device', lambda: device)
    monkeypatch.setattr(QUICKSTART, 'has_bfloat16', lambda name: native)
    assert QUICKSTART.trains_in_bfloat16(precision) == expected


def test_it_trains_and_evaluates_in_bfloat16(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')  # so that it leaves torch's threads as they are
    monkeypatch.setattr(QUICKSTART, 'export', lambda detector, file: None)
    options = [
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=2',
        'train_dataloader.batch_size=2',
    ]
    for loader in ('val_dataloader', 'test_dataloader'):
        options.append(f'{loader}.dataset.num_images=2')
    argv = ['--work-dir', str(tmp_path), '--precision', 'bfloat16', '--num-pictures', '1']
    QUICKSTART.main([*argv, '--cfg-options', *options])
    output = capfd.readouterr().out
    assert 'Training in bfloat16' in output
    assert 'quickstart bbox_mAP=' in output
    assert (
        "type='mmdet_setdet.AutocastOptimWrapper'"
        in (tmp_path / 'dn_detr_r18_shapes.py').read_text()
    )
    assert (tmp_path / 'predictions.png').is_file()
