"""The decisions of setup_env.py, as functions of their arguments. Standard library only."""

import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'requirements'
STACKS = ('default', 'upstream')
PYTHONS = ((3, 10), (3, 14))  # first and last version that the pinned torch has wheels for
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'


def requirement_lines(*names: str) -> list:
    """Return the requirements of ``requirements/NAME.txt``, without comments."""
    requirements = []
    for name in names:
        for line in (REQUIREMENTS / f'{name}.txt').read_text().splitlines():
            if line.strip() and not line.startswith('#'):
                requirements.append(line.strip())
    return requirements


def stack_lines(stack: str) -> list:
    """Return mmengine, mmcv and mmdet of a stack, and mmseg, which only the segmentation configs need."""
    return requirement_lines(stack, f'{stack}-seg')


def torch_attempts(pin: str, has_gpu: bool) -> list:
    """Return what to ask pip for, best first.

    ``===`` compares the whole string, so that a CPU build that pip can find (``2.13.0+cpu`` satisfies ``==2.13.0``) is
    not preferred on a machine with a GPU.

    Args:
        pin (str): ``torch==VERSION``.
        has_gpu (bool): Whether there is an NVIDIA GPU.

    Returns:
        list[tuple[str, list[str]]]: Description and arguments of ``pip install``.
    """
    version = pin.partition('==')[2]
    if has_gpu:
        return [
            ('the plain package', [f'torch==={version}']),
            ('whatever build pip finds', [pin]),
        ]
    cpu = f'torch=={version}+cpu'
    own_index = ['--extra-index-url', CPU_INDEX, '--timeout', '15', '--retries', '1']
    return [
        ('a CPU build from where pip is configured to look', [cpu]),
        ("a CPU build from PyTorch's own index", [cpu, *own_index]),
        (
            'the plain package: no CPU build was found, so several GB of CUDA packages may follow',
            [pin],
        ),
    ]


def choose_ops(gpu: str, nvcc: str, torch_cuda: str) -> tuple:
    """Decide whether mmcv is built with CUDA ops.

    Args:
        gpu (str): Compute capability of the GPU such as '9.0'; '' without GPU.
        nvcc (str): CUDA release of the compiler such as '13.0'; '' without compiler.
        torch_cuda (str): CUDA release that torch was built with; '' for a CPU build.

    Returns:
        tuple[str, str]: 'cpu' or a tag such as 'cu130-sm90', and what will not work (empty when nothing is lost).
    """
    if not gpu:
        return 'cpu', ''
    if not torch_cuda:
        return (
            'cpu',
            'there is an NVIDIA GPU but pip found a CPU build of torch only: the GPU will not be used.',
        )
    if nvcc.partition('.')[0] == torch_cuda.partition('.')[0]:
        cuda = nvcc.replace('.', '')
        capability = gpu.replace('.', '')
        return f'cu{cuda}-sm{capability}', ''
    reason = f'nvcc is of CUDA {nvcc}' if nvcc else 'no CUDA compiler (nvcc)'
    return 'cpu', (
        f'there is an NVIDIA GPU, but {reason} while torch is built with CUDA {torch_cuda}: mmcv gets CPU ops only. '
        "Training and inference run on the GPU, but mmcv's own ops do not: NMS, RoIAlign, deformable convolution (so "
        'RetinaNet, Mask R-CNN, OTA) and its multi-scale deformable attention. DETR and DN-DETR need none of them. '
        f'To have them, install the CUDA {torch_cuda} toolkit and run `make env FORCE=1`.'
    )


def wheel_key(torch_version: str, python_tag: str, ops: str, machine: str) -> str:
    """Return the wheel's folder in the cache: it fits only the torch, Python, CUDA and machine it was built for."""
    return f'torch{torch_version}-{python_tag}-{ops}-{machine}'


def parse_progress(line: str):
    """Return ninja's ``[12/87]`` as (12, 87), None for any other line."""
    match = re.match(r'\s*\[(\d+)/(\d+)\]\s', line)
    return (int(match.group(1)), int(match.group(2))) if match else None


def duration(seconds: float) -> str:
    """Format seconds as ``m:ss``."""
    return '{}:{:02d}'.format(*divmod(int(seconds), 60))


def environment_digest(stack: str, venv: Path) -> str:
    """Return a digest that changes whenever this program would make another environment than before."""
    names = ('torch', 'build', 'common', 'dev', stack, f'{stack}-seg')
    files = [REQUIREMENTS / f'{name}.txt' for name in names]
    files.append(ROOT / 'setup.py')
    files += sorted(Path(__file__).resolve().parent.glob('*.py'))
    parts = [stack, str(venv), str(ROOT)]
    parts += [path.read_text() for path in files]
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()
