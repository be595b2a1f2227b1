"""What the machine has, and what it lacks for this package. Standard library only."""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from commands import SetupError, output_of, say
from decisions import PYTHONS, UNKNOWN, note_on_cpu, parse_nvidia_smi


def find_gpus() -> tuple:
    """Ask nvidia-smi, which works also where torch could not use the GPUs.

    Returns:
        tuple[list[str], str]: The compute capabilities of all NVIDIA GPUs, each once, and the version of the driver.
    """
    if 'GPU 0' not in output_of('nvidia-smi', '-L'):
        return [], ''
    for fields in (
        'compute_cap,driver_version',
        'name,driver_version',
    ):  # old drivers know no compute_cap
        lines = output_of('nvidia-smi', f'--query-gpu={fields}', '--format=csv,noheader')
        if lines:
            return parse_nvidia_smi(lines)
    return [UNKNOWN], ''


def explain_no_gpu() -> str:
    """Return what to say if this machine seems to have GPUs, or to belong to others that have some."""
    entries = Path('/proc/driver/nvidia/gpus')
    driver_cards = len(list(entries.glob('*')))
    error = ''
    if shutil.which('nvidia-smi'):
        error = output_of('nvidia-smi', '-L', even_if_it_fails=True).partition('\n')[0]
    return note_on_cpu(driver_cards, error, bool(shutil.which('sinfo')))


def find_nvcc(home: str = '') -> str:
    """Return the CUDA release of the nvcc in a toolkit, or of that which torch's build would call; '' without one."""
    home = home or os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH')
    if home:
        nvcc = os.path.join(home, 'bin', 'nvcc')
    else:
        nvcc = shutil.which('nvcc') or '/usr/local/cuda/bin/nvcc'
    match = re.search(r'release (\d+\.\d+)', output_of(nvcc, '--version'))
    return match.group(1) if match else ''


def make_toolkit(packages: Path, home: Path) -> None:
    """Make a folder that looks like a CUDA toolkit, of links into NVIDIA's Python packages.

    Args:
        packages (Path): Their folder: ``bin``, ``include``, ``nvvm``, ``lib`` with ``libcudart.so.13`` and others.
        home (Path): The new folder: ``bin``, ``include``, ``nvvm``, ``lib64`` with ``libcudart.so`` as well.
    """
    shutil.rmtree(str(home), ignore_errors=True)
    libraries = home / 'lib64'
    libraries.mkdir(parents=True)
    for name in ('bin', 'include', 'nvvm'):
        (home / name).symlink_to(packages / name)
    for path in (packages / 'lib').glob('lib*'):
        (libraries / path.name).symlink_to(path)
        linker_name = path.name.partition('.so.')[0] + '.so'
        if '.so.' in path.name and not (libraries / linker_name).exists():
            (libraries / linker_name).symlink_to(path)


def python_version() -> str:
    """Return the version of this Python as '3.11'."""
    return '{}.{}'.format(*sys.version_info[:2])


def use_supported_python(program: str) -> None:
    """Continue with a python3 that torch supports: this one, or another on the PATH that runs ``program`` instead."""
    (major, first), (_, last) = PYTHONS
    if (major, first) <= sys.version_info[:2] <= (major, last):
        return
    for minor in range(last, first - 1, -1):
        other = shutil.which(f'python3.{minor}')
        if other and output_of(other, '-c', 'import ensurepip, venv; print(1)'):
            os.execv(other, [other, program, *sys.argv[1:]])
    raise SetupError(
        f'python3 is {python_version()}, but torch needs 3.{first} to 3.{last}: install one of these or '
        'name it with `make PYTHON=/path/to/python3 ...`.'
    )


def require_venv() -> None:
    """Fail with the name of the package that Debian's python3 needs to make virtual environments."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SetupError(
            f'{sys.executable} cannot make virtual environments: `apt install python3-venv` (or '
            f'python{python_version()}-venv).'
        ) from None


def require_compiler(python: str) -> None:
    """Fail with the names of the packages that compiling mmcv needs, before minutes are spent."""
    missing = []
    packages = []
    compiler = (os.environ.get('CXX') or 'c++').split()[0]
    if not shutil.which(compiler):
        missing.append(f'a C++ compiler (looked for {compiler})')
        packages.append('g++')
    include = output_of(python, '-c', 'import sysconfig; print(sysconfig.get_path("include"))')
    if not os.path.exists(os.path.join(include, 'Python.h')):
        missing.append(f'Python.h (looked in {include})')
        packages.append('python3-dev')
    if missing:
        raise SetupError(
            'mmcv is compiled here, which needs {}: `apt install {}`.'.format(
                ' and '.join(missing), ' '.join(packages)
            )
        )


def compile_jobs() -> int:
    """Return how many compilers to run: one per core, as far as memory allows; each uses up to 2 GB."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, memory // (2 << 30)))


def wheel_cache(venv: Path) -> Path:
    """Return the folder of compiled wheels; inside the environment if the user's cache cannot be written."""
    base = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    folder = Path(base) / 'mmdet_setdet' / 'wheels'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            return folder
    except OSError as error:
        say(
            f'    cannot write {folder} ({error.strerror}): the mmcv wheel is kept in {venv / "wheels"} instead'
        )
        (venv / 'wheels').mkdir(exist_ok=True)
        return venv / 'wheels'
