"""Mixed precision: the type that is chosen, training and testing on a CPU, and what stays in float32."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from helpers.tiny_detector import new_name, tool, write_config, write_dataset
from mmcv.ops import ModulatedDeformConv2dPack, MultiScaleDeformableAttention
from mmdet.registry import MODELS
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmdet_setdet.engine import keep_in_float32, precision
from mmdet_setdet.engine.precision import amp_options, choose_amp_dtype, set_matmul_precision
from mmdet_setdet.errors import InputError


@pytest.fixture
def device(monkeypatch):
    """A function that pretends that the machine computes on a device."""

    def pretend(name, has_bfloat16):
        monkeypatch.setattr(precision, 'get_device', lambda: name)
        monkeypatch.setattr(precision, 'has_bfloat16', lambda device: has_bfloat16)

    return pretend


@pytest.mark.parametrize('name', ['cpu', 'cuda'])
def test_bfloat16_where_the_device_has_it(device, name):
    device(name, has_bfloat16=True)
    assert choose_amp_dtype() == 'bfloat16'
    options = amp_options('auto', {})
    assert options['optim_wrapper.type'] == 'mmdet_setdet.AutocastOptimWrapper'


def test_float16_on_older_gpus_and_on_request(device):
    device('cuda', has_bfloat16=False)
    assert choose_amp_dtype() == 'float16'
    device('cuda', has_bfloat16=True)
    assert choose_amp_dtype('float16') == 'float16'
    options = amp_options('float16', {'optim_wrapper.loss_scale': 512.0})
    assert options['optim_wrapper.type'] == 'AmpOptimWrapper'
    assert options['optim_wrapper.loss_scale'] == 512


def test_an_option_of_the_config_names_the_type(device):
    device('cuda', has_bfloat16=True)
    options = amp_options('auto', {'optim_wrapper.dtype': 'float16'})
    assert options['optim_wrapper.type'] == 'AmpOptimWrapper'
    assert options['optim_wrapper.dtype'] == 'float16'


def test_cpus_without_bfloat16(device, warnings):
    device('cpu', has_bfloat16=False)
    with pytest.raises(InputError, match='does not multiply bfloat16'):
        choose_amp_dtype()
    with pytest.raises(InputError, match='use --amp bfloat16'):
        choose_amp_dtype('float16')
    assert choose_amp_dtype('bfloat16') == 'bfloat16'
    assert 'slow' in warnings[0]


def test_what_a_cpu_says_of_itself(monkeypatch, tmp_path):
    info = tmp_path / 'cpuinfo'
    monkeypatch.setattr(precision, 'CPU_INFO', info)
    assert not precision.has_bfloat16('cpu')
    info.write_text('flags\t\t: fpu avx2 avx512f avx512_vnni\n')
    assert not precision.has_bfloat16('cpu')
    info.write_text('flags\t\t: fpu avx2 avx512f avx512_bf16\n')
    assert precision.has_bfloat16('cpu')


def test_matmul_precision():
    before = torch.get_float32_matmul_precision()
    try:
        set_matmul_precision('high')
        assert torch.get_float32_matmul_precision() == 'high'
    finally:
        torch.set_float32_matmul_precision(before)
    with pytest.raises(InputError, match="matmul_precision='tf32': must be one of highest"):
        set_matmul_precision('tf32')


def test_the_wrapper_of_bfloat16_does_bfloat16_only():
    model = nn.Linear(3, 2)
    cfg = dict(type='mmdet_setdet.AutocastOptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    wrapper = build_optim_wrapper(model, cfg)
    with wrapper.optim_context(model):
        output = model(torch.ones(1, 3))
    assert output.dtype == torch.bfloat16
    assert model(torch.ones(1, 3)).dtype == torch.float32
    with pytest.raises(InputError, match="dtype=float16.*type='AmpOptimWrapper'"):
        build_optim_wrapper(model, dict(cfg, dtype='float16'))


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """A RetinaNet of mmdet, two epochs."""
    folder = tmp_path_factory.mktemp('amp')
    write_dataset(folder / 'data')
    return write_config(folder, folder / 'data')


def train(config, work_dir, *arguments):
    options = [f'experiment_name={new_name()}', 'train_dataloader.batch_size=5']
    arguments = ['--work-dir', str(work_dir), *arguments]
    tool('train').main([config, *arguments, '--cfg-options', *options])
    losses = MessageHub.get_current_instance().get_scalar('train/loss').data[0]
    return torch.tensor(losses)


def test_trains_resumes_and_tests_on_a_cpu(config, tmp_path):
    expected = train(config, tmp_path / 'float32')
    work_dir = tmp_path / 'bfloat16'
    losses = train(config, work_dir, '--amp', 'bfloat16')
    assert not torch.equal(losses, expected)
    torch.testing.assert_close(losses, expected, rtol=0.02, atol=0)
    whole_run = torch.load(work_dir / 'epoch_2.pth', weights_only=False)['state_dict']
    (work_dir / 'epoch_2.pth').unlink()
    train(config, work_dir, '--amp', 'bfloat16', '--resume')
    resumed = torch.load(work_dir / 'epoch_2.pth', weights_only=False)['state_dict']
    for name, weight in whole_run.items():
        assert torch.equal(resumed[name], weight), name

    results = tmp_path / 'results.pkl'
    arguments = ['--work-dir', str(work_dir), '--amp', 'bfloat16', '--out', str(results)]
    options = [f'experiment_name={new_name()}']
    checkpoint = str(work_dir / 'epoch_2.pth')
    tool('test').main([config, checkpoint, *arguments, '--cfg-options', *options])
    for result in pickle.loads(Path(results).read_bytes()):
        assert result['pred_instances']['bboxes'].dtype == torch.float32
        assert result['pred_instances']['scores'].dtype == torch.float32


def test_operators_without_bfloat16_compute_in_float32():
    """On a CPU as on a GPU they refuse bfloat16; a copy of the model, as averaged weights are, has its own weights."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), ModulatedDeformConv2dPack(4, 4, 3, padding=1))
    images = torch.randn(1, 3, 8, 8)
    expected = model(images)
    with torch.autocast('cpu', torch.bfloat16), pytest.raises(RuntimeError, match='BFloat16'):
        model(images)
    keep_in_float32(model)
    assert torch.equal(model(images), expected)
    average = copy.deepcopy(model)
    nn.init.zeros_(average[1].weight)
    nn.init.zeros_(average[1].bias)
    with torch.autocast('cpu', torch.bfloat16):
        output = model(images)
        zeros = average(images)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, expected, rtol=0.05, atol=0.02)
    assert not zeros.any()
    output.sum().backward()
    assert model[0].weight.grad.isfinite().all()


def test_focal_loss_and_deformable_attention_see_float32():
    loss = keep_in_float32(MODELS.build(dict(type='FocalLoss')))
    logits = torch.randn(6, 4).bfloat16()
    labels = torch.tensor([0, 1, 2, 3, 4, 4])
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(loss(logits, labels), loss(logits.float(), labels))

    attention = keep_in_float32(MultiScaleDeformableAttention(32, 4, 1, 2, batch_first=True))
    inputs = dict(
        query=torch.randn(1, 5, 32).bfloat16(),
        value=torch.randn(1, 12, 32).bfloat16(),
        reference_points=torch.rand(1, 5, 1, 2),
        spatial_shapes=torch.tensor([[3, 4]]),
        level_start_index=torch.tensor([0]),
    )
    with torch.autocast('cpu', torch.bfloat16):
        assert attention(**inputs).dtype == torch.float32
