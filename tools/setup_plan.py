"""What tools/setup_env.py decides, apart from what it does: functions of their arguments, standard library only."""
import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / 'requirements'
STACKS = ('default', 'upstream')
PYTHONS = ((3, 10), (3, 14))  # first and last version that the pinned torch has wheels for
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'


def requirement_lines(*names: str) -> list:
    """Requirements of ``requirements/NAME.txt``, without comments."""
    lines = [line.strip() for name in names for line in (REQUIREMENTS / (name + '.txt')).read_text().splitlines()]
    return [line for line in lines if line and not line.startswith('#')]


def stack_lines(stack: str) -> list:
    """mmengine, mmcv and mmdet of a stack, and mmseg, which only the configs of segmentation need."""
    return requirement_lines(stack, stack + '-seg')


def torch_attempts(pin: str, has_gpu: bool) -> list:
    """What to ask pip for, best first: ``(what it is, arguments)``.

    ``===`` compares the whole string, so that a CPU build in reach of pip (``2.13.0+cpu`` satisfies ``==2.13.0``) does
    not win where a GPU waits.
    """
    version = pin.partition('==')[2]
    cpu = 'torch==' + version + '+cpu'
    if has_gpu:
        return [('the plain package', ['torch===' + version]), ('whatever build pip finds', [pin])]
    return [('a CPU build from where pip is configured to look', [cpu]),
            ("a CPU build from PyTorch's own index",
             [cpu, '--extra-index-url', CPU_INDEX, '--timeout', '15', '--retries', '1']),
            ('the plain package: no CPU build was found, so several GB of CUDA packages may follow', [pin])]


def choose_ops(gpu: str, nvcc: str, torch_cuda: str) -> tuple:
    """Whether mmcv gets CUDA ops.

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
        return 'cpu', 'there is an NVIDIA GPU but pip found a CPU build of torch only: the GPU will not be used.'
    if nvcc.partition('.')[0] == torch_cuda.partition('.')[0]:
        return 'cu' + nvcc.replace('.', '') + '-sm' + gpu.replace('.', ''), ''
    reason = 'no CUDA compiler (nvcc)' if not nvcc else 'nvcc is of CUDA ' + nvcc
    return 'cpu', (
        'there is an NVIDIA GPU, but ' + reason + ' while torch is built with CUDA ' + torch_cuda + ': mmcv gets CPU '
        "ops only. Training and inference run on the GPU, but mmcv's own ops do not: NMS, RoIAlign, deformable "
        'convolution (so RetinaNet, Mask R-CNN, OTA) and its multi-scale deformable attention. DETR and DN-DETR need '
        'none of them. '
        'To have them, install the CUDA ' + torch_cuda + ' toolkit and run `make env FORCE=1`.')


def wheel_key(torch_version: str, python_tag: str, ops: str, machine: str) -> str:
    """Folder of the wheel cache: a wheel fits only the torch, Python, CUDA and machine that it was built for."""
    return '-'.join(['torch' + torch_version, python_tag, ops, machine])


def parse_progress(line: str):
    """ninja's ``[12/87]`` as (12, 87); None for any other line."""
    match = re.match(r'\s*\[(\d+)/(\d+)\]\s', line)
    return (int(match.group(1)), int(match.group(2))) if match else None


def duration(seconds: float) -> str:
    """Seconds as ``m:ss``."""
    return '{}:{:02d}'.format(*divmod(int(seconds), 60))


def environment_digest(stack: str, venv: Path) -> str:
    """Changes whenever an environment made earlier is no longer what this program would make."""
    files = [REQUIREMENTS / (name + '.txt') for name in ('torch', 'build', 'common', 'dev', stack, stack + '-seg')]
    files += [ROOT / 'setup.py', ROOT / 'tools' / 'setup_env.py', ROOT / 'tools' / 'setup_plan.py']
    parts = [stack, str(venv), str(ROOT)] + [path.read_text() for path in files]
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()
