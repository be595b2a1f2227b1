#!/usr/bin/env python3
"""Turn a bare machine into an environment in which this package trains; ``make env`` runs this.

Requires a python3 with venv and, unless a fitting mmcv wheel is in the cache, g++ and Python.h. Uses the standard
library only, and no syntax that would keep an old python3 from printing what to do. Every step can be interrupted and
run again.

1. a virtual environment (``--venv``); 2. build tools and pinned dependencies; 3. torch, a CPU build where there is no
NVIDIA GPU; 4. mmengine, mmdet, mmseg and this package, editable; 5. mmcv, compiled against that torch, its wheel
kept in the user's cache; 6. a check that all of it imports.
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
    REQUIREMENTS,
    ROOT,
    STACKS,
    choose_ops,
    duration,
    environment_digest,
    requirement_lines,
    stack_lines,
    torch_attempts,
    wheel_key,
)
from machine import (
    compile_jobs,
    find_gpu,
    find_nvcc,
    python_version,
    require_compiler,
    require_venv,
    use_supported_python,
    wheel_cache,
)

# Settings of the caller's shell that would send packages elsewhere.
FOREIGN_SETTINGS = ('PYTHONPATH', 'PYTHONHOME', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_ROOT')
WHEEL_ONLY = ('--no-deps', '--force-reinstall')
IMPORTS = (
    'import torch, cv2, scipy, pycocotools, mmcv.ops, mmdet.apis, mmdet.visualization, mmseg.models'
)


class Setup:
    """The steps, in the order in which :meth:`run` makes them."""

    def __init__(self, venv: Path, stack: str) -> None:
        self.venv = venv
        self.stack = stack
        self.python = str(venv / 'bin' / 'python')
        self.log = venv / 'setup.log'
        self.constraints = venv / 'constraints.txt'
        self.mmcv = next(
            line for line in requirement_lines(stack) if re.match(r'(onedl-)?mmcv==', line)
        )
        self.wheel_pattern = self.mmcv.replace('-', '_').replace('==', '-') + '-*.whl'

    def command(self, command: list, failure: str, **env: str) -> None:
        """Run a command; if it fails, raise with the end of its log."""
        if watch(command, self.log, **env):
            return
        log_of_command = self.log.read_text(errors='replace').rpartition('\n$ ')[2]
        lines = log_of_command.splitlines()
        # A compiler's errors are far above the end, which is pip's own trace.
        errors = [line for line in lines[:-40] if re.search(r'\berror: |Killed', line)]
        report = [*errors[:5], *lines[-40:], '', failure, f'The whole log is {self.log}']
        raise SetupError('\n'.join(report))

    def pip(self, *args: str, failure: str) -> None:
        self.command([self.python, '-m', 'pip', *args], failure)

    def install(self, *args: str) -> None:
        """Run ``pip install`` under the constraint of the installed torch.

        Bytecode is left to the first import: most of what is installed is never imported.
        """
        constraint = ['-c', str(self.constraints)] if self.constraints.exists() else []
        self.pip(
            'install',
            '--no-compile',
            *constraint,
            *args,
            failure='pip could not install the above. Without a '
            'network, behind a proxy or a mirror? Configure pip (`pip config`, PIP_* variables) and run again.',
        )

    def installed(self, *names: str) -> dict:
        """Return the versions of those distributions that the environment has, by name."""
        code = (
            'import importlib.metadata as m, json; '
            'print(json.dumps({d.metadata["Name"]: d.version for d in m.distributions()}))'
        )
        versions = json.loads(output_of(self.python, '-c', code) or '{}')
        return {name: versions[name] for name in names if name in versions}

    def make_venv(self) -> None:
        version = python_version()
        query = 'import pip, sys; print("{}.{}".format(*sys.version_info[:2]))'
        if output_of(self.python, '-c', query) == version:
            return
        say(f'[1/6] virtual environment {self.venv} (Python {version})')
        require_venv()
        # This repairs a half-made environment and deletes nothing in it.
        self.command(
            [sys.executable, '-m', 'venv', str(self.venv)],
            f'python3 -m venv failed: `apt install python3-venv`, or delete {self.venv} and run again.',
        )
        if output_of(self.python, '-c', query) != version:
            raise SetupError(
                f'{self.venv} cannot be used (made by another Python?): delete it and run again.'
            )

    def remove_other_stack(self) -> None:
        """Uninstall the other stack first: the two write the same files."""
        (other,) = set(STACKS) - {self.stack}
        others = [line.partition('==')[0] for line in stack_lines(other)]
        own = [line.partition('==')[0] for line in stack_lines(self.stack)]
        installed = self.installed(*others)
        if installed:
            say('      removing the other stack from this environment: ' + ', '.join(installed))
            self.pip('uninstall', '-y', *others, *own, failure=f'delete {self.venv} and run again.')

    def install_torch(self, gpu: str) -> tuple:
        """Install torch and pin it for every later call of pip.

        Returns:
            tuple[str, str]: Its version and its CUDA release ('' for a CPU build).
        """
        (pin,) = requirement_lines('torch')
        installed = self.installed('torch').get('torch', '')
        is_pinned = installed.partition('+')[0] == pin.partition('==')[2]
        wastes_gpu = gpu and installed.endswith('+cpu')
        if not is_pinned or wastes_gpu:
            self.download_torch(pin, bool(gpu))
        code = 'import json, torch; print(json.dumps([torch.__version__, torch.version.cuda]))'
        version, cuda = json.loads(output_of(self.python, '-c', code) or '["", null]')
        if not version:
            raise SetupError(
                f'the torch in {self.venv} does not import: delete that folder and run again.'
            )
        self.constraints.write_text('torch=={}\n'.format(self.installed('torch')['torch']))
        return version, cuda or ''

    def download_torch(self, pin: str, has_gpu: bool) -> None:
        constraints = [f'-c{REQUIREMENTS / name}.txt' for name in ('common', 'build')]
        for build, args in torch_attempts(pin, has_gpu):
            say(f'[3/6] {pin}: {build}')
            if watch(
                [self.python, '-m', 'pip', 'install', '--no-compile', *constraints, *args], self.log
            ):
                return
        raise SetupError(f'pip finds no {pin} for this Python; the log is {self.log}')

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
        say(
            '[5/6] {}: compiling its {} ops, {} at a time (about 6 minutes on 2 cores, once for each torch)'.format(
                self.mmcv, 'CUDA' if ops != 'cpu' else 'CPU', jobs
            )
        )
        # mmcv compiles for CUDA whenever torch sees a GPU: hide the GPU where the compiler for it is missing.
        cuda = (
            {'FORCE_CUDA': '1'} if ops != 'cpu' else {'FORCE_CUDA': '0', 'CUDA_VISIBLE_DEVICES': ''}
        )
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
            failure = (
                'mmcv did not compile. Out of memory? Run again with fewer programs beside it.'
            )
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
            '--no-deps', *(f'-r{REQUIREMENTS / name}.txt' for name in ('build', 'common', 'dev'))
        )
        gpu = find_gpu()
        version, cuda = self.install_torch(gpu)
        ops, lost = choose_ops(gpu, find_nvcc(), cuda)
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
        took = duration(time.monotonic() - started)
        say(f'{self.venv} is ready: torch {version}, the {self.stack} stack; took {took}')


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
    args = parser.parse_args()
    venv = Path(os.path.abspath(str(args.venv)))
    stamp = venv / 'setup.stamp'

    def is_ready() -> bool:
        is_made = stamp.exists() and (venv / 'bin' / 'python').exists()
        return is_made and stamp.read_text() == environment_digest(args.stack, venv)

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
        Setup(venv, args.stack).run()
        stamp.write_text(environment_digest(args.stack, venv))
    except SetupError as error:
        print(f'\nset-up failed: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\ninterrupted; run again to go on', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
