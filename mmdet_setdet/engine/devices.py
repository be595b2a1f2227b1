"""On which device a run computes: a machine with GPUs uses its CPU cores only if that was asked for."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import torch
from mmengine.device import get_device

from ..errors import InputError
from .launchers import LAUNCHER_VARIABLES

# CUDA's major release -> the first driver that runs it (https://docs.nvidia.com/deploy/cuda-compatibility).
MIN_DRIVERS = {11: 450, 12: 525, 13: 580}
# Slurm's names of the GPUs that a job holds on this machine: two lists of numbers, and how many there are.
SLURM_GPUS = ('SLURM_JOB_GPUS', 'SLURM_STEP_GPUS', 'SLURM_GPUS_ON_NODE')


def check_devices(launcher: str = 'none', root: Path = Path('/')) -> None:
    """Check that the run computes where its user expects it.

    Args:
        launcher (str): What started this process: 'none', 'pytorch', 'slurm' or 'mpi'.
        root (Path): The folder that holds ``proc`` and ``dev``.

    Raises:
        InputError: The machine has NVIDIA GPUs, or its Slurm job holds some, but torch cannot use them; more processes
            were started on the machine than it has GPUs; or torch has no kernels for the GPU.
    """
    if torch.cuda.is_available():
        _check_processes(launcher)
        _check_kernels(launcher)
    elif get_device() == 'cpu':
        problem = gpu_problem(root)
        if problem:
            raise InputError(problem)


def gpu_problem(root: Path = Path('/')) -> str:
    """Tell why torch does not use the GPUs of this machine, and what to do.

    Args:
        root (Path): The folder that holds ``proc`` and ``dev``.

    Returns:
        str: A sentence or two; '' if there is no NVIDIA GPU, or if an empty ``CUDA_VISIBLE_DEVICES`` (or -1) asks for
            the CPU.
    """
    asks_for_cpu = os.environ.get('CUDA_VISIBLE_DEVICES', 'all').strip() in ('', '-1')
    gpus = '' if asks_for_cpu else _find_gpus(root)
    if not gpus:
        return ''
    return (
        f'{gpus}, but torch would compute on CPU cores: {_cause(root)}. '
        'To use CPU cores on purpose, set CUDA_VISIBLE_DEVICES= (empty).'
    )


def _find_gpus(root: Path) -> str:
    """Return what shows that there are NVIDIA GPUs; '' if nothing does."""
    entries = _driver_entries(root)
    if entries:
        return f'this machine has {entries} NVIDIA GPU{"s" if entries > 1 else ""}'
    held = _slurm_gpus()
    if held:
        return f'the Slurm job holds GPUs ({held})'
    listed = _nvidia_smi('-L').count('GPU ')
    return f'nvidia-smi lists {listed} GPU{"s" if listed > 1 else ""}' if listed else ''


def _driver_entries(root: Path) -> int:
    """Return how many cards the kernel's driver has, visible to this process or not."""
    return len(list((root / 'proc/driver/nvidia/gpus').glob('*')))


def _slurm_gpus() -> str:
    for name in SLURM_GPUS:
        value = os.environ.get(name, '')
        is_count = name == 'SLURM_GPUS_ON_NODE'
        if value and not (is_count and value == '0'):
            return f'{name}={value}'
    return ''


def _nvidia_smi(*options: str) -> str:
    """Return what nvidia-smi prints; '' if it is missing or fails."""
    program = shutil.which('nvidia-smi')
    if program is None:
        return ''
    try:
        done = subprocess.run([program, *options], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ''
    return done.stdout if done.returncode == 0 else ''


def _driver_version(root: Path) -> str:
    """Return the version of the driver such as '535.129.03'; '' if nothing tells it."""
    try:
        text = (root / 'proc/driver/nvidia/version').read_text()
    except OSError:
        query = ('--query-gpu=driver_version', '--format=csv,noheader')
        return _nvidia_smi(*query).partition('\n')[0].strip()
    match = re.search(r'Kernel Module.*?\s(\d+\.[\d.]+)', text)
    return match.group(1) if match else ''


def _cause(root: Path) -> str:
    """Return why torch sees no GPU, and the way out."""
    if 'SLURM_JOB_ID' in os.environ and not _slurm_gpus():
        return 'this Slurm job holds no GPU; ask for some (--gres=gpu:N)'
    if not _device_files(root):
        return 'no GPU is passed into this container (docker run --gpus all)'
    build = f'torch {torch.__version__}'
    cuda = torch.version.cuda
    if cuda is None:
        return (
            f'{build} is a build without CUDA; `make env FORCE=1` on this machine takes one with it '
            '(on a login node without a GPU: `make env GPU=8.0`, the compute capability of the cards)'
        )
    driver = _driver_version(root)
    required = MIN_DRIVERS.get(int(cuda.partition('.')[0]), 0)
    if driver and int(driver.partition('.')[0]) < required:
        return (
            f'the driver {driver} is too old for {build}, whose CUDA {cuda} needs {required} or newer; '
            'update the driver, or `make env FORCE=1` takes a build of torch for it'
        )
    chosen = os.environ.get('CUDA_VISIBLE_DEVICES')
    if chosen is not None and not _names_a_card(chosen, _driver_entries(root)):
        return f'CUDA_VISIBLE_DEVICES={chosen} names no card of this machine'
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        reason = str(error).partition('\n')[0]
        return f'{build} says "{reason}"'
    return f'{build} sees no GPU'


def _device_files(root: Path) -> list[Path]:
    """Return /dev/nvidia0 and so on; under Windows' Linux, /dev/dxg stands for all cards."""
    return [*(root / 'dev').glob('nvidia[0-9]*'), *(root / 'dev').glob('dxg')]


def _names_a_card(chosen: str, cards: int) -> bool:
    """Return whether the first name is a card's: CUDA ignores all names from the first wrong one on."""
    first = chosen.split(',')[0].strip()
    if first.isdigit():
        return int(first) < cards or cards == 0
    return first.startswith(('GPU-', 'MIG-'))


def _local_rank(launcher: str) -> int:
    if launcher == 'none':
        return 0
    return int(os.environ.get(LAUNCHER_VARIABLES[launcher][2], 0))


def _check_processes(launcher: str) -> None:
    """Refuse more processes on this machine than GPUs: each computes on the one of its own rank."""
    if launcher == 'none':
        return
    _, world_name, _, size_name = LAUNCHER_VARIABLES[launcher]
    world = int(os.environ.get(world_name, 1))
    size = int(os.environ.get(size_name, 1))
    # Slurm may ask for more processes per machine than the whole job has.
    processes = max(_local_rank(launcher) + 1, min(size, world))
    visible = torch.cuda.device_count()
    if processes <= visible:
        return
    advice = f'start at most {visible} (tools/dist_train.sh CONFIG {visible})'
    if launcher == 'slurm':
        advice = (
            'set GPUS_PER_NODE to the number of GPUs; every process must see all GPUs of its '
            'machine, so leave out --gpus-per-task and --gpu-bind'
        )
    raise InputError(
        f'{processes} processes on this machine, but torch sees {visible} '
        f'GPU{"s" if visible > 1 else ""}: {advice}'
    )


def _check_kernels(launcher: str) -> None:
    """Refuse a GPU that this build of torch has no machine code for."""
    index = _local_rank(launcher)
    if torch.version.cuda is None or has_kernels(index):
        return
    name = torch.cuda.get_device_name(index)
    archs = torch.cuda.get_arch_list()
    major, minor = torch.cuda.get_device_capability(index)
    raise InputError(
        f'torch {torch.__version__} has no kernels for the {name} (compute capability {major}.{minor}), '
        f'only {", ".join(archs)}; `make env FORCE=1` takes a build of torch for it'
    )


def has_kernels(index: int) -> bool:
    """Return whether this build of torch has code for the GPU of that index."""
    capability = torch.cuda.get_device_capability(index)
    return any(_runs(arch, capability) for arch in torch.cuda.get_arch_list())


def _runs(arch: str, capability: tuple[int, int]) -> bool:
    """Return whether kernels for ``sm_86`` or ``compute_120`` run on a GPU of a compute capability.

    Machine code (``sm``) runs on later cards of the same major version, intermediate code (``compute``) on all later
    ones. Code with a letter, as in ``sm_90a``, is for that card alone.
    """
    kind, _, digits = arch.partition('_')
    is_special = not digits.isdigit()
    number = digits.rstrip('abcdefghijklmnopqrstuvwxyz')
    built_for = (int(number[:-1]), int(number[-1]))
    if is_special:
        return built_for == capability
    if kind == 'sm' and built_for[0] != capability[0]:
        return False
    return built_for <= capability
