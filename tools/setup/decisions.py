"""The decisions of setup_env.py, as functions of their arguments. Standard library only."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'requirements'
STACKS = ('default', 'upstream')
PYTHONS = ((3, 10), (3, 14))  # first and last version that the pinned torch has wheels for
PYTORCH_INDEX = 'https://download.pytorch.org/whl'
UNKNOWN = 'unknown'  # compute capability of a card whose driver does not tell it

NEEDS_OPS = (
    'RetinaNet, FCOS, ATSS, OTA, YOLOX and RTMDet (focal loss, NMS), Mask and Cascade R-CNN (RoIAlign, NMS) and '
    'deformable convolution'
)
NEEDS_NONE = (
    'DETR, DAB-DETR, DN-DETR, classifiers and segmentors need none; deformable DETRs are slower'
)


class Build(NamedTuple):
    """A build of the pinned torch, and what it runs on.

    Attributes:
        cuda: The CUDA release that it is built with.
        driver: The first major version of the driver that runs it.
        first, last: The oldest and the newest compute capability that it has kernels for; the last is without a limit
            where intermediate code for later cards is included.
        tag: The local version, ``cu126`` in ``2.13.0+cu126``, and the folder of PyTorch's index; '' for the plain
            package.
    """

    cuda: str
    driver: int
    first: str
    last: str
    tag: str

    def runs_on(self, cards: list, driver: str) -> bool:
        """Whether the driver, if it is known, and at least one of the cards will do."""
        too_old = driver and major(driver) < self.driver
        return not too_old and any(self.has_kernels(card) for card in cards)

    def has_kernels(self, card: str) -> bool:
        """Whether there are kernels for a compute capability."""
        if card == UNKNOWN:
            return True
        number = version_numbers(card)
        is_new_enough = number >= version_numbers(self.first)
        return is_new_enough and (not self.last or number <= version_numbers(self.last))

    def __str__(self) -> str:
        cards = f'{self.first} to {self.last}' if self.last else f'{self.first} or newer'
        return f'CUDA {self.cuda} needs driver {self.driver} or newer and cards of {cards}'


# The builds of torch 2.13, best first: the table of pytorch/pytorch's RELEASE.md, and
# https://docs.nvidia.com/deploy/cuda-compatibility for the drivers.
BUILDS = (
    Build('13.0', driver=580, first='7.5', last='', tag=''),
    Build('12.6', driver=525, first='5.0', last='9.0', tag='cu126'),
)
CPU = Build('', driver=0, first='', last='', tag='cpu')


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


def version_numbers(version: str) -> tuple:
    """Return '8.6' as (8, 6), so that '10.0' comes after '9.0'."""
    return tuple(int(number) for number in re.findall(r'\d+', version))


def major(version: str) -> int:
    """Return 535 of '535.129.03'."""
    return version_numbers(version)[0]


def parse_cards(text: str) -> list:
    """Return the compute capabilities in '8.0 9.0', each once, in order.

    Raises:
        ValueError: A word is none.
    """
    words = text.replace(',', ' ').split()
    for word in words:
        if not re.fullmatch(r'\d{1,2}\.\d', word):
            raise ValueError(f'{word} is no compute capability such as 8.0 or "8.0 9.0"')
    return sorted(set(words), key=version_numbers)


def parse_nvidia_smi(text: str) -> tuple:
    """Read lines such as '8.0, 535.129.03', one for each card.

    Returns:
        tuple[list[str], str]: The compute capabilities, each once (:data:`UNKNOWN` for what is none), and the driver.
    """
    cards = set()
    driver = ''
    for line in text.splitlines():
        capability, _, version = (part.strip() for part in line.partition(','))
        is_known = re.fullmatch(r'\d+\.\d', capability)
        cards.add(capability if is_known else UNKNOWN)
        driver = driver or version
    return sorted(cards, key=version_numbers), driver


def choose_build(cards: list, driver: str) -> tuple:
    """Choose the build of torch: the first that has kernels for all cards, else for some.

    Args:
        cards (list[str]): Compute capabilities; empty without GPU.
        driver (str): Version of the driver; '' if unknown, which counts as new enough.

    Returns:
        tuple[Build | None, str]: None if none runs, and what is to be said (empty when all is well).
    """
    if not cards:
        return CPU, ''
    fitting = [build for build in BUILDS if build.runs_on(cards, driver)]
    machine = (
        f'the GPUs have compute capability {", ".join(cards)}, the driver is {driver or "unknown"}'
    )
    rules = '; '.join(str(build) for build in BUILDS)
    if not fitting:
        return None, f'no build of torch runs here: {machine}, but {rules}'

    def count_lost(build: Build) -> int:
        return sum(not build.has_kernels(card) for card in cards)

    build = min(fitting, key=count_lost)
    lost = [card for card in cards if not build.has_kernels(card)]
    if lost:
        names = ', '.join(lost)
        return (
            build,
            f'{machine}: torch for CUDA {build.cuda} cannot use the cards of {names} ({rules})',
        )
    if build is not BUILDS[0]:
        return (
            build,
            f'{machine}: an older build of torch is taken, for CUDA {build.cuda} ({rules})',
        )
    return build, ''


def torch_attempts(pin: str, build: Build) -> list:
    """Return what to ask pip for, best first.

    ``===`` compares the whole string, so that a CPU build that pip can find (``2.13.0+cpu`` satisfies ``==2.13.0``) is
    not preferred on a machine with a GPU.

    Args:
        pin (str): ``torch==VERSION``.
        build (Build): The wanted one.

    Returns:
        list[tuple[str, list[str]]]: Description and arguments of ``pip install``.
    """
    version = pin.partition('==')[2]
    if not build.tag:
        return [
            ('the plain package', [f'torch==={version}']),
            ('whatever build pip finds', [pin]),
        ]
    name = f'a CUDA {build.cuda} build' if build.cuda else 'a CPU build'
    tagged = f'torch=={version}+{build.tag}'
    index = f'{PYTORCH_INDEX}/{build.tag}'
    own_index = ['--extra-index-url', index, '--timeout', '15', '--retries', '1']
    attempts = [
        (f'{name} from where pip is configured to look', [tagged]),
        (f"{name} from PyTorch's own index", [tagged, *own_index]),
    ]
    if build is CPU:
        several_gb = 'no CPU build was found, so several GB of CUDA packages may follow'
        attempts.append((f'the plain package: {several_gb}', [pin]))
    return attempts


def is_build(installed: str, pin: str, build: Build) -> bool:
    """Return whether the installed version of torch is the pinned one and serves as the build.

    Without a GPU every build does, with one no other: ``2.13.0`` is the plain package, ``2.13.0+cpu`` the CPU build.
    """
    version, _, tag = installed.partition('+')
    if version != pin.partition('==')[2]:
        return False
    own_tags = (build.tag, f'cu{build.cuda}'.replace('.', ''))
    return build is CPU or tag in own_tags


def nvcc_from_packages(nvcc: str, torch_cuda: str) -> bool:
    """Return whether pip is to install the nvcc that compiles mmcv's CUDA ops.

    That is where the machine has none that torch accepts, which is one of the same major release. From CUDA 13 on the
    packages hold all of the compiler, before only parts of it.

    Args:
        nvcc (str): CUDA release of the machine's nvcc such as '13.0'; '' without one.
        torch_cuda (str): CUDA release that torch was built with.
    """
    fits = nvcc and major(nvcc) == major(torch_cuda)
    return not fits and major(torch_cuda) >= 13


def choose_ops(cards: list, nvcc: str, torch_cuda: str) -> tuple:
    """Decide whether mmcv is built with CUDA ops.

    Args:
        cards (list[str]): Compute capabilities of the GPUs; empty without GPU.
        nvcc (str): CUDA release of the compiler that is there or was installed; '' without one.
        torch_cuda (str): CUDA release that torch was built with.

    Returns:
        tuple[str, str]: 'cpu' or a tag such as 'cu130-sm80-sm90', and what will not work (empty when nothing is lost).
    """
    if not cards:
        return 'cpu', ''
    if nvcc and major(nvcc) == major(torch_cuda):
        cuda = nvcc.replace('.', '')
        archs = [f'sm{card}'.replace('.', '') for card in cards]
        return '-'.join([f'cu{cuda}', *archs]), ''
    reason = f'nvcc is of CUDA {nvcc}' if nvcc else 'there is no CUDA compiler (nvcc)'
    return 'cpu', (
        f'{reason} while torch is built with CUDA {torch_cuda}: mmcv gets CPU ops only. These will not work on the '
        f'GPU: {NEEDS_OPS}. {NEEDS_NONE}. To have all, install the CUDA {torch_cuda} toolkit and run '
        '`make env FORCE=1`.'
    )


def arch_list(cards: list) -> str:
    """Return TORCH_CUDA_ARCH_LIST for those cards; '' leaves it to torch, which asks the driver."""
    return '' if UNKNOWN in cards else ';'.join(cards)


def note_on_cpu(driver_cards: int, smi_error: str, has_slurm: bool) -> str:
    """Return what to say where no GPU is usable although there may be some.

    Args:
        driver_cards (int): How many cards the kernel's driver has.
        smi_error (str): What nvidia-smi says as it fails; '' if it is missing or works.
        has_slurm (bool): Whether Slurm's commands are there.
    """
    way_out = 'for an environment that runs on GPUs, `make env GPU=8.0` (the compute capability of the cards)'
    if driver_cards:
        seen = f'the driver has {driver_cards} NVIDIA GPUs, but none can be used here'
        return f'{seen} (a container without --gpus?), so torch is a CPU build; {way_out}.'
    if smi_error:
        return f'nvidia-smi is there and says "{smi_error}", so torch is a CPU build; {way_out}.'
    if has_slurm:
        return f'no GPU here, but Slurm: if this is the login node of a cluster, {way_out}.'
    return ''


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


def environment_digest(stack: str, venv: Path, **options: str) -> str:
    """Return a digest that changes whenever this program would make another environment than before."""
    names = ('torch', 'build', 'common', 'eval', 'export', 'dev', stack, f'{stack}-seg')
    files = [REQUIREMENTS / f'{name}.txt' for name in names]
    files += [ROOT / 'setup.py', ROOT / 'pyproject.toml']
    files += sorted(Path(__file__).resolve().parent.glob('*.py'))
    parts = [stack, str(venv), str(ROOT), str(sorted(options.items()))]
    parts += [path.read_text() for path in files]
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()
