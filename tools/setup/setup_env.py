#!/usr/bin/env python3
"""Turn a bare machine into an environment in which this package trains; ``make env`` runs this.

Requires a python3 with venv and, unless a fitting mmcv wheel is in the cache, g++ and Python.h. Uses the standard
library only, and no syntax that would keep an old python3 from printing what to do. Every step can be interrupted and
run again.

1. a virtual environment (``--venv``); 2. build tools and pinned dependencies; 3. torch, in the build for the machine's
NVIDIA GPUs and their driver, a CPU build without GPU, and nvcc where it is missing; 4. mmengine, mmdet, mmseg and this
package, editable; 5. mmcv, compiled against that torch, its wheel kept in the user's cache; 6. a check that all of it
imports and that the GPUs compute.
"""

import argparse
import fcntl
import json
import os
import platform
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

from commands import SetupError, output_of, say, watch
from decisions import (
    CPU,
    REQUIREMENTS,
    ROOT,
    STACKS,
    Build,
    arch_list,
    choose_build,
    choose_ops,
    duration,
    environment_digest,
    is_build,
    major,
    nvcc_from_packages,
    parse_cards,
    requirement_lines,
    stack_lines,
    torch_attempts,
    wheel_key,
)
from environment import Environment
from machine import (
    compile_jobs,
    explain_no_gpu,
    find_gpus,
    find_nvcc,
    make_toolkit,
    require_compiler,
    use_supported_python,
    wheel_cache,
)

# Settings of the caller's shell that would send packages elsewhere.
FOREIGN_SETTINGS = ('PYTHONPATH', 'PYTHONHOME', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_ROOT')
COMPILE_TIMES = {'CPU': 'about 6 minutes', 'CUDA': 'an hour or more'}
WHEEL_ONLY = ('--no-deps', '--force-reinstall')
IMPORTS = (
    'import torch, cv2, scipy, pycocotools, mmcv.ops, mmdet.apis, mmdet.visualization, mmseg.models'
)


class Setup(Environment):
    """The steps, in the order in which :meth:`run` makes them.

    Args:
        venv (Path): Folder of the environment.
        stack (str): 'default' or 'upstream'.
        options (dict): The user's ``gpu``, ``driver`` and ``ops``, each '' unless given.
    """

    def __init__(self, venv: Path, stack: str, options: dict) -> None:
        super().__init__(venv)
        self.stack = stack
        self.options = options
        self.mmcv = next(
            line for line in requirement_lines(stack) if re.match(r'(onedl-)?mmcv==', line)
        )
        self.wheel_pattern = self.mmcv.replace('-', '_').replace('==', '-') + '-*.whl'
        self.cards: list = []
        self.cuda_home = ''  # '': torch finds the nvcc

    def remove_other_stack(self) -> None:
        """Uninstall the other stack first: the two write the same files."""
        (other,) = set(STACKS) - {self.stack}
        others = [line.partition('==')[0] for line in stack_lines(other)]
        own = [line.partition('==')[0] for line in stack_lines(self.stack)]
        installed = self.installed(*others)
        if installed:
            say('      removing the other stack from this environment: ' + ', '.join(installed))
            self.pip('uninstall', '-y', *others, *own, failure=f'delete {self.venv} and run again.')

    def choose_torch(self) -> Build:
        """Return the build of torch for the machine, or for the one that the options describe."""
        wanted = self.options['gpu']
        driver = self.options['driver']
        if wanted == 'none':
            return CPU
        if wanted:
            self.cards = parse_cards(wanted)
        else:
            self.cards, found = find_gpus()
            driver = driver or found
        build, note = choose_build(self.cards, driver)
        if build is None:
            raise SetupError(
                f'{note}. Update the driver, or `make env GPU=none` makes an environment for the CPU.'
            )
        note = note or ('' if self.cards else explain_no_gpu())
        if note:
            say('NOTE: ' + note)
        self.cards = [card for card in self.cards if build.has_kernels(card)]
        return build

    def install_torch(self, build: Build) -> tuple:
        """Install torch and pin it for every later call of pip.

        Returns:
            tuple[str, str]: Its version and its CUDA release ('' for a CPU build).
        """
        (pin,) = requirement_lines('torch')
        installed = self.installed('torch').get('torch', '')
        if not is_build(installed, pin, build):
            self.download_torch(pin, build)
        code = 'import json, torch; print(json.dumps([torch.__version__, torch.version.cuda]))'
        version, cuda = json.loads(output_of(self.python, '-c', code) or '["", null]')
        if not version:
            raise SetupError(
                f'the torch in {self.venv} does not import: delete that folder and run again.'
            )
        if build is not CPU and not cuda:
            raise SetupError(
                f'pip finds torch {version} only, a CPU build, so the GPU cannot be used: give pip another place to '
                'look (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS), or `make env GPU=none` makes an environment for the CPU'
            )
        self.constraints.write_text('torch=={}\n'.format(self.installed('torch')['torch']))
        return version, cuda or ''

    def download_torch(self, pin: str, build: Build) -> None:
        constraints = [f'-c{REQUIREMENTS / name}.txt' for name in ('common', 'build')]
        for description, args in torch_attempts(pin, build):
            say(f'[3/6] {pin}: {description}')
            if watch(
                [self.python, '-m', 'pip', 'install', '--no-compile', *constraints, *args], self.log
            ):
                return
        advice = f'pip finds no {pin} for this Python; the log is {self.log}'
        if build.tag and build is not CPU:
            advice = (
                f'pip finds no {pin}+{build.tag}, also not at PyTorch, so the GPU cannot be used: give pip '
                'another place to look (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS), update the driver, or '
                f'`make env GPU=none` makes an environment for the CPU; the log is {self.log}'
            )
        raise SetupError(advice)

    def find_compiler(self, torch_cuda: str) -> str:
        """Return the CUDA release of the nvcc to compile mmcv's ops with, installed if need be; '' without one."""
        nvcc = find_nvcc()
        if not nvcc_from_packages(nvcc, torch_cuda):
            return nvcc
        return self.install_nvcc(torch_cuda) or nvcc

    def install_nvcc(self, torch_cuda: str) -> str:
        """Install the compiler's packages of the release that torch's own CUDA packages are of.

        They lie in one folder with those of torch, which has the headers and libraries, but not in the form of a
        toolkit: the libraries are in ``lib`` and lack the names that a linker asks for.

        Returns:
            str: Its CUDA release; '' if pip does not have it or it does not run.
        """
        toolkit = self.installed('cuda-toolkit').get('cuda-toolkit')
        if toolkit is None:
            return ''
        say(f'[3/6] nvcc for CUDA {torch_cuda}, to compile mmcv with')
        compiler = f'cuda-toolkit[nvcc,crt,nvvm,cccl]=={toolkit}'
        constraint = ['-c', str(self.constraints)]
        command = [self.python, '-m', 'pip', 'install', '--no-compile', *constraint, compiler]
        if not watch(command, self.log):
            return ''
        code = 'import sysconfig; print(sysconfig.get_path("purelib"))'
        packages = Path(output_of(self.python, '-c', code), 'nvidia', f'cu{major(torch_cuda)}')
        home = self.venv / 'cuda'
        make_toolkit(packages, home)
        self.cuda_home = str(home)
        return find_nvcc(self.cuda_home)

    def install_mmcv(self, torch_version: str, ops: str, cache: Path) -> None:
        """Install mmcv from the cache, or compile it into the cache first."""
        python_tag = 'cp{}{}'.format(*sys.version_info[:2])
        machine = f'{platform.system().lower()}_{platform.machine()}'
        folder = cache / wheel_key(torch_version, python_tag, ops, machine)
        for wheel in folder.glob(self.wheel_pattern):
            say(f'[5/6] {self.mmcv} from {wheel}')
            self.install(*WHEEL_ONLY, str(wheel))
            if output_of(self.python, '-c', 'import mmcv.ops; print(1)'):
                return
            say('      that wheel does not load here (another C library?): building it again')
        self.install(*WHEEL_ONLY, str(self.compile_mmcv(ops, folder)))

    def compile_mmcv(self, ops: str, folder: Path) -> Path:
        """Compile mmcv against the installed torch; return its wheel in ``folder``."""
        require_compiler(self.python)
        jobs = compile_jobs()
        kind = 'CPU' if ops == 'cpu' else 'CUDA'
        say(
            f'[5/6] {self.mmcv}: compiling its {kind} ops, {jobs} at a time '
            f'(on 2 cores {COMPILE_TIMES[kind]}, once for each torch)'
            + ('; OPS=cpu goes without' if kind == 'CUDA' else '')
        )
        # mmcv compiles for CUDA whenever torch sees a GPU: hide the GPU where the compiler for it is missing.
        cuda = {'FORCE_CUDA': '0', 'CUDA_VISIBLE_DEVICES': ''}
        failure = 'mmcv did not compile. Out of memory? Run again with fewer programs beside it.'
        if ops != 'cpu':
            cuda = {'FORCE_CUDA': '1', 'TORCH_CUDA_ARCH_LIST': arch_list(self.cards)}
            failure += ' To do without its CUDA ops, `make env OPS=cpu`.'
        if self.cuda_home:
            cuda['CUDA_HOME'] = self.cuda_home
        # Python's own flags ask for debug symbols, which take a quarter of the time and nearly all of the space.
        flags = {name: f'{os.environ.get(name, "")} -g0' for name in ('CFLAGS', 'CXXFLAGS')}
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=str(folder)) as building:
            # No cache of pip: it does not distinguish wheels by torch.
            from_source = [
                '--no-binary',
                self.mmcv.partition('==')[0],
                '--no-cache-dir',
                '--no-build-isolation',
            ]
            command = [
                self.python,
                '-m',
                'pip',
                'wheel',
                '-v',
                '--no-deps',
                *from_source,
                '-w',
                building,
                self.mmcv,
            ]
            self.command(command, failure, MMCV_WITH_OPS='1', MAX_JOBS=str(jobs), **flags, **cuda)
            (built,) = Path(building).glob('*.whl')
            wheel = folder / built.name
            os.replace(
                str(built), str(wheel)
            )  # within one folder: another run sees all of it or nothing
        return wheel

    def run(self) -> None:
        started = time.monotonic()
        self.make_venv()
        cache = wheel_cache(self.venv)
        if not any(cache.glob('*/' + self.wheel_pattern)):
            require_compiler(self.python)
        self.remove_other_stack()
        say('[2/6] build tools and dependencies')
        self.install(
            '--no-deps',
            *(
                f'-r{REQUIREMENTS / name}.txt'
                for name in ('build', 'common', 'eval', 'export', 'dev')
            ),
        )
        version, cuda = self.install_torch(self.choose_torch())
        if self.options['ops'] == 'cpu':
            ops, lost = 'cpu', ''
        else:
            nvcc = self.find_compiler(cuda) if self.cards else ''
            ops, lost = choose_ops(self.cards, nvcc, cuda)
        if lost:
            say('NOTE: ' + lost)
        rest = [line for line in stack_lines(self.stack) if line != self.mmcv]
        say(f'[4/6] {", ".join(rest)} and this package')
        # The forks ask for opencv-python, which needs display libraries; an isolated build fetches build tools again.
        self.install('--no-deps', '--no-build-isolation', *rest)
        self.install('--no-deps', '--no-build-isolation', '-e', str(ROOT))
        self.install_mmcv(version, ops, cache)
        say('[6/6] checking')
        self.command(
            [self.python, '-c', IMPORTS], f'This does not import: delete {self.venv} and run again.'
        )
        if self.cards:
            self.try_gpus(ops)
        took = duration(time.monotonic() - started)
        say(f'{self.venv} is ready: torch {version}, the {self.stack} stack; took {took}')

    def try_gpus(self, ops: str) -> None:
        """Compute on the GPUs of this machine; fail with the reason."""
        here, _ = find_gpus()
        if not here:
            say('NOTE: the environment is for GPUs of another machine: `make test-cuda` there.')
            return
        if os.environ.get('CUDA_VISIBLE_DEVICES', 'all').strip() in ('', '-1'):
            say('NOTE: CUDA_VISIBLE_DEVICES hides the GPUs: they have not been tried.')
            return
        script = str(ROOT / 'tools' / 'setup' / 'try_gpu.py')
        options = [] if ops == 'cpu' else ['--ops']
        failure = (
            'The GPU does not compute, for the reason above. `make env GPU=none` makes an environment for '
            'the CPU.'
        )
        self.command([self.python, '-W', 'ignore', script, *options], failure)
        for line in self.last_output():
            if line.startswith('GPU '):
                say('      ' + line)


def settle_environment(venv: Path) -> None:
    """Make all commands of this program work on the environment, use its tools and ask no questions."""
    for name in FOREIGN_SETTINGS:
        os.environ.pop(name, None)
    path = os.environ.get('PATH', os.defpath)
    os.environ.update(
        PIP_USER='0',
        PIP_NO_INPUT='1',
        PIP_DISABLE_PIP_VERSION_CHECK='1',
        PYTHONNOUSERSITE='1',
        PYTHONUNBUFFERED='1',
        PATH=str(venv / 'bin') + os.pathsep + path,
    )


def gpu_option(text: str) -> str:
    """Check the value of ``--gpu``."""
    if text.strip() == 'none':
        return 'none'
    try:
        return ' '.join(parse_cards(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{error}, or none for the CPU') from None


def driver_option(text: str) -> str:
    """Check the value of ``--driver``."""
    if not re.fullmatch(r'(\d{3}[.\d]*)?', text):
        raise argparse.ArgumentTypeError(f'{text} is no version of a driver such as 535')
    return text


def remember_options(file: Path, args: argparse.Namespace) -> dict:
    """Return the options for the GPU; those that are not given are as when the environment was made.

    So ``make test`` goes on with the environment that ``make env GPU=8.0`` has made. ``--force`` forgets them.
    """
    options = {'gpu': '', 'driver': '', 'ops': ''}
    if file.exists() and not args.force:
        options = json.loads(file.read_text())
    for name in options:
        options[name] = getattr(args, name) or options[name]
    return options


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--venv', type=Path, default=ROOT / '.venv', help='folder of the environment'
    )
    parser.add_argument(
        '--stack', choices=STACKS, default='default', help='which mmengine, mmcv and mmdet'
    )
    parser.add_argument(
        '--force', action='store_true', help='make all steps even if everything seems to be there'
    )
    parser.add_argument(
        '--gpu',
        type=gpu_option,
        default='',
        help='compute capabilities to build for such as "8.0 9.0"; "none": a CPU build (default: what is here)',
    )
    parser.add_argument(
        '--driver', type=driver_option, default='', help='version of the driver there, such as 535'
    )
    parser.add_argument(
        '--ops', choices=['', 'cpu'], default='', help="cpu: without mmcv's CUDA ops"
    )
    args = parser.parse_args()
    venv = Path(os.path.abspath(str(args.venv)))
    stamp = venv / 'setup.stamp'
    options = remember_options(venv / 'setup.options', args)

    def is_ready() -> bool:
        is_made = stamp.exists() and (venv / 'bin' / 'python').exists()
        return is_made and stamp.read_text() == environment_digest(args.stack, venv, **options)

    if is_ready() and not args.force:
        return 0
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # so that a compiler that we started stops too
    try:
        use_supported_python(os.path.abspath(__file__))
        venv.mkdir(parents=True, exist_ok=True)
        lock = os.open(str(ROOT), os.O_RDONLY)  # released with the process, leaves no file
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f'waiting for another set-up in {ROOT} to end')
            fcntl.flock(lock, fcntl.LOCK_EX)
            if is_ready():
                return 0
        if stamp.exists():
            stamp.unlink()
        settle_environment(venv)
        (venv / 'setup.options').write_text(json.dumps(options))
        Setup(venv, args.stack, options).run()
        stamp.write_text(environment_digest(args.stack, venv, **options))
    except SetupError as error:
        print(f'\nset-up failed: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\ninterrupted; run again to go on', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
