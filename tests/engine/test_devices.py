"""What is said of machines whose GPUs torch cannot use; the machines are folders and variables."""

from dataclasses import dataclass
from pathlib import Path

import mmengine.device
import pytest
import torch
from helpers.tiny_detector import tool, write_config, write_dataset

from mmdet_setdet.engine import devices
from mmdet_setdet.engine.devices import check_devices, gpu_problem
from mmdet_setdet.errors import InputError

CLOSED = 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Fri Nov 15 00:05:23 UTC 2024\nGCC version: 12.3.0\n'
OPEN = 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs@host)\n'
CUDA_VARIABLES = ('CUDA_VISIBLE_DEVICES', 'SLURM_JOB_ID', *devices.SLURM_GPUS)


@dataclass
class Machine:
    """A folder in place of /, in which cards and driver appear."""

    root: Path

    def add_gpus(self, count: int, driver: str = '580.65.06', text: str = CLOSED) -> None:
        nvidia = self.root / 'proc/driver/nvidia'
        for index in range(count):
            (nvidia / f'gpus/0000:{index}a:00.0').mkdir(parents=True)
        (nvidia / 'version').write_text(text.format(driver))
        (self.root / 'dev').mkdir()
        for name in ('nvidiactl', *(f'nvidia{index}' for index in range(count))):
            (self.root / 'dev' / name).touch()

    def remove_device_files(self) -> None:
        for path in (self.root / 'dev').iterdir():
            path.unlink()

    def add_nvidia_smi(self, text: str) -> None:
        program = self.root / 'nvidia-smi'
        program.write_text(f'#!/bin/sh\n{text}\n')
        program.chmod(0o755)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without GPU; torch is a CUDA 13.0 build that sees no card."""
    for name in CUDA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(torch, '__version__', '2.13.0+cu130')
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(devices, 'get_device', lambda: 'cpu')
    return Machine(tmp_path)


def test_without_gpu_the_cpu_is_fine(machine):
    check_devices('pytorch', machine.root)
    assert gpu_problem(machine.root) == ''


@pytest.mark.parametrize('value', ['', '-1', ' '])
def test_cpu_on_purpose(machine, monkeypatch, value):
    machine.add_gpus(4)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', value)
    check_devices('none', machine.root)


def test_cpu_build_of_torch(machine, monkeypatch):
    machine.add_gpus(1)
    monkeypatch.setattr(torch, '__version__', '2.13.0+cpu')
    monkeypatch.setattr(torch.version, 'cuda', None)
    with pytest.raises(InputError) as error:
        check_devices('none', machine.root)
    message = str(error.value)
    assert 'this machine has 1 NVIDIA GPU,' in message
    assert 'torch 2.13.0+cpu is a build without CUDA' in message
    assert '`make env FORCE=1`' in message
    assert 'CUDA_VISIBLE_DEVICES= (empty)' in message


@pytest.mark.parametrize('text', [CLOSED, OPEN])
@pytest.mark.parametrize(
    ('driver', 'cuda', 'needs'),
    [
        ('535.129.03', '13.0', '580'),
        ('570.86.15', '13.0', '580'),
        ('470.256.02', '12.6', '525'),
        ('580.65.06', '13.0', ''),
        ('535.129.03', '12.6', ''),
    ],
)
def test_driver_and_cuda(machine, monkeypatch, text, driver, cuda, needs):
    machine.add_gpus(2, driver, text)
    monkeypatch.setattr(torch.version, 'cuda', cuda)
    problem = gpu_problem(machine.root)
    assert ('too old' in problem) == bool(needs)
    if needs:
        assert f'the driver {driver}' in problem
        assert f'CUDA {cuda} needs {needs} or newer' in problem


def test_driver_known_to_nvidia_smi_alone(machine):
    """As under Windows' Linux, which has no /proc/driver/nvidia."""
    (machine.root / 'dev').mkdir()
    (machine.root / 'dev/dxg').touch()
    machine.add_nvidia_smi(
        'case "$1" in -L) echo "GPU 0: NVIDIA T4 (UUID: GPU-1)";; *) echo 550.54.15;; esac'
    )
    problem = gpu_problem(machine.root)
    assert problem.startswith('nvidia-smi lists 1 GPU,')
    assert 'the driver 550.54.15 is too old' in problem


def test_nvidia_smi_that_fails_is_no_gpu(machine):
    machine.add_nvidia_smi('echo "GPU 0 is not there"; exit 9')
    assert gpu_problem(machine.root) == ''


def test_container_without_gpus(machine):
    machine.add_gpus(8)
    machine.remove_device_files()
    assert '8 NVIDIA GPUs' in gpu_problem(machine.root)
    assert 'docker run --gpus all' in gpu_problem(machine.root)


@pytest.mark.parametrize(
    ('value', 'is_named'),
    [('4', True), ('7,0', True), ('NoDevFiles', True), ('3', False), ('0,9', False)],
)
def test_visible_devices_that_name_no_card(machine, monkeypatch, value, is_named):
    machine.add_gpus(4)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', value)
    sentence = f'CUDA_VISIBLE_DEVICES={value} names no card of this machine'
    assert (sentence in gpu_problem(machine.root)) == is_named


def test_otherwise_torch_says_why(machine, monkeypatch):
    def init():
        raise RuntimeError('Error 802: system not yet initialized\nand more')

    machine.add_gpus(8)
    monkeypatch.setattr(torch.cuda, 'init', init)
    sentence = 'torch 2.13.0+cu130 says "Error 802: system not yet initialized".'
    assert sentence in gpu_problem(machine.root)


@pytest.mark.parametrize(
    ('name', 'value', 'holds'),
    [
        ('SLURM_JOB_GPUS', '0', True),
        ('SLURM_STEP_GPUS', '2,3', True),
        ('SLURM_GPUS_ON_NODE', '8', True),
        ('SLURM_GPUS_ON_NODE', '0', False),
    ],
)
def test_slurm_job_with_gpus_that_torch_cannot_use(machine, monkeypatch, name, value, holds):
    monkeypatch.setenv(name, value)
    problem = gpu_problem(machine.root)
    assert (f'the Slurm job holds GPUs ({name}={value})' in problem) == holds
    assert bool(problem) == holds


def test_slurm_job_without_gpus_on_a_machine_with_some(machine, monkeypatch):
    machine.add_gpus(8)
    monkeypatch.setenv('SLURM_JOB_ID', '17')
    assert 'this Slurm job holds no GPU; ask for some' in gpu_problem(machine.root)


def test_other_accelerators_are_none_of_our_business(machine, monkeypatch):
    machine.add_gpus(1)
    monkeypatch.setattr(devices, 'get_device', lambda: 'npu')
    check_devices('none', machine.root)


@pytest.fixture
def two_gpus(machine, monkeypatch):
    """A machine with two A100 that torch can use."""
    machine.add_gpus(2)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index: (8, 0))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda index: f'NVIDIA A100 {index}')
    monkeypatch.setattr(torch.cuda, 'get_arch_list', lambda: ['sm_75', 'sm_80', 'compute_120'])
    return monkeypatch


def set_ranks(monkeypatch, **variables):
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ('launcher', 'variables', 'processes'),
    [
        ('none', dict(LOCAL_RANK=5, LOCAL_WORLD_SIZE=8), 0),
        ('pytorch', dict(WORLD_SIZE=2, LOCAL_RANK=1, LOCAL_WORLD_SIZE=2), 0),
        ('pytorch', dict(WORLD_SIZE=8, LOCAL_RANK=0, LOCAL_WORLD_SIZE=8), 8),
        ('slurm', dict(SLURM_NTASKS=2, SLURM_LOCALID=1, SLURM_NTASKS_PER_NODE=8), 0),
        ('slurm', dict(SLURM_NTASKS=16, SLURM_LOCALID=3), 4),
        ('mpi', dict(OMPI_COMM_WORLD_SIZE=3, OMPI_COMM_WORLD_LOCAL_SIZE=3), 3),
    ],
)
def test_more_processes_than_gpus(two_gpus, launcher, variables, processes):
    set_ranks(two_gpus, **variables)
    if not processes:
        return check_devices(launcher)
    with pytest.raises(InputError, match=f'^{processes} processes on this machine, .* sees 2 GPUs'):
        check_devices(launcher)


@pytest.mark.parametrize(
    ('capability', 'archs', 'runs'),
    [
        ((8, 0), ['sm_75', 'sm_80'], True),
        ((8, 9), ['sm_75', 'sm_86'], True),  # of the same major version
        ((7, 0), ['sm_75', 'sm_120', 'compute_120'], False),
        ((6, 1), ['sm_60', 'sm_70'], True),
        ((12, 1), ['sm_120'], True),
        ((10, 0), ['sm_90', 'sm_90a'], False),
        ((9, 0), ['sm_90a'], True),
        ((13, 0), ['sm_120', 'compute_120'], True),
    ],
)
def test_kernels_for_the_gpu(two_gpus, capability, archs, runs):
    two_gpus.setattr(torch.cuda, 'get_device_capability', lambda index: capability)
    two_gpus.setattr(torch.cuda, 'get_arch_list', lambda: archs)
    if runs:
        return check_devices()
    number = '{}.{}'.format(*capability)
    with pytest.raises(InputError, match=rf'no kernels for the NVIDIA A100 0 .*{number}\)'):
        check_devices()


@pytest.mark.skipif(mmengine.device.get_device() != 'cpu', reason='for runs on the CPU')
def test_training_stops_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.setenv('SLURM_JOB_GPUS', '0,1')
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    write_dataset(tmp_path / 'data', 1)
    config = write_config(tmp_path, tmp_path / 'data')
    for options in ([], ['--amp']):
        with pytest.raises(InputError, match='the Slurm job holds GPUs'):
            tool('train').main([config, *options, '--work-dir', str(tmp_path / 'work')])
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    with pytest.raises(InputError, match='--amp float16: '):
        tool('train').main([config, '--amp', 'float16', '--work-dir', str(tmp_path / 'work')])
