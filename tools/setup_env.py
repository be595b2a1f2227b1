#!/usr/bin/env python3
"""Bring a bare machine to an environment in which this package trains: what ``make env`` runs.

Needs a python3 with venv and, unless a fitting mmcv wheel is in the cache, g++ and Python.h; standard library only, and
no syntax that keeps an old python3 from reading how to go on. Every step can be interrupted and run again.

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
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from setup_plan import (
    PYTHONS,
    REQUIREMENTS,
    ROOT,
    STACKS,
    choose_ops,
    duration,
    environment_digest,
    parse_progress,
    requirement_lines,
    stack_lines,
    torch_attempts,
    wheel_key,
)

SECONDS_BETWEEN_LINES = 15
# Settings of the caller's shell that would send packages elsewhere.
FOREIGN_SETTINGS = ('PYTHONPATH', 'PYTHONHOME', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_ROOT')
IMPORTS = 'import torch, cv2, scipy, pycocotools, mmcv.ops, mmdet.apis, mmdet.visualization, mmseg.models'


class SetupError(Exception):
    """A step failed; the message says what to do."""


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


# What the machine has
def output_of(*command: str) -> str:
    """Standard output of a command; '' when it is missing or fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired):
        return ''
    return done.stdout.strip() if done.returncode == 0 else ''


def find_gpu() -> str:
    """Compute capability of the first NVIDIA GPU; 'any' when the driver does not tell it, '' without GPU."""
    if 'GPU 0' not in output_of('nvidia-smi', '-L'):
        return ''
    lines = output_of('nvidia-smi', '--query-gpu=compute_cap', '--format=csv,noheader').splitlines()
    return lines[0].strip() if lines else 'any'


def find_nvcc() -> str:
    """CUDA release of the nvcc that torch's build would call; '' without one."""
    home = os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH')
    nvcc = os.path.join(home, 'bin', 'nvcc') if home else shutil.which('nvcc') or '/usr/local/cuda/bin/nvcc'
    match = re.search(r'release (\d+\.\d+)', output_of(nvcc, '--version'))
    return match.group(1) if match else ''


def use_supported_python() -> None:
    """Go on with a python3 that torch supports: this one, or another on the PATH in place of this process."""
    first, last = PYTHONS
    if first <= sys.version_info[:2] <= last:
        return
    for minor in range(last[1], first[1] - 1, -1):
        other = shutil.which(f'python3.{minor}')
        if other and output_of(other, '-c', 'import ensurepip, venv; print(1)'):
            os.execv(other, [other, str(Path(__file__).resolve())] + sys.argv[1:])
    raise SetupError('python3 is {}.{}, but torch needs 3.{} to 3.{}: install one of these or name '
                     'it with `make PYTHON=/path/to/python3 ...`.'.format(*sys.version_info[:2], first[1], last[1]))


def require_venv() -> None:
    """Name the package without which Debian's python3 makes no virtual environments."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        version = '{}.{}'.format(*sys.version_info[:2])
        raise SetupError(f'{sys.executable} cannot make virtual environments: `apt install python3-venv` (or '
                         f'python{version}-venv).') from None


def require_compiler(python: str) -> None:
    """Name the packages without which mmcv cannot be compiled, before minutes are spent."""
    missing = []
    compiler = (os.environ.get('CXX') or 'c++').split()[0]
    if not shutil.which(compiler):
        missing.append(('a C++ compiler (looked for ' + compiler + ')', 'g++'))
    include = output_of(python, '-c', 'import sysconfig; print(sysconfig.get_path("include"))')
    if not os.path.exists(os.path.join(include, 'Python.h')):
        missing.append(('Python.h (looked in ' + include + ')', 'python3-dev'))
    if missing:
        what, packages = zip(*missing)
        need, command = ' and '.join(what), ' '.join(packages)
        raise SetupError(f'mmcv is compiled here, which needs {need}: `apt install {command}`.')


def compile_jobs() -> int:
    """One compiler per core, as far as memory goes: each takes up to 2 GB."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return max(1, min(len(os.sched_getaffinity(0)), memory // (2 << 30)))


def wheel_cache(venv: Path) -> Path:
    """Folder of compiled wheels; inside the environment when the user's cache cannot be written."""
    base = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    folder = Path(base) / 'mmdet_setdet' / 'wheels'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            return folder
    except OSError as error:
        say(f'    cannot write {folder} ({error.strerror}): the mmcv wheel is kept in {venv / "wheels"} instead')
        (venv / 'wheels').mkdir(exist_ok=True)
        return venv / 'wheels'


class Progress:
    """What a running command is at: rewritten in place on a terminal, else a line every 15 seconds."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.compile_start = self.start
        self.status = ''

    def feed(self, line: str) -> None:
        step = parse_progress(line)
        if step:
            done, total = step
            left = (time.monotonic() - self.compile_start) / done * (total - done)
            self.status = f'compiled {done}/{total}' + (f', about {duration(left)} left' if done >= 5 else '')
        elif re.match(r'\s*(Downloading|Collecting|Building wheel|Installing collected)', line):
            self.compile_start = time.monotonic()
            self.status = line.strip()[:60]

    def show(self) -> None:
        now = time.monotonic()
        text = f'    {duration(now - self.start)}  {self.status}'
        if sys.stdout.isatty():
            print('\r' + text.ljust(90), end='', flush=True)
        elif now - self.last >= SECONDS_BETWEEN_LINES:
            self.last = now
            say(text)

    def clear(self) -> None:
        if sys.stdout.isatty():
            print('\r' + ' ' * 90 + '\r', end='', flush=True)


def watch(command: list, log: Path, **env: str) -> bool:
    """Run a command, its output into the log and its progress onto the screen; stop it and its children with us.

    Returns:
        bool: Whether it succeeded.
    """
    progress = Progress()
    with log.open('a') as out:
        out.write('\n$ ' + ' '.join(command) + '\n')
        out.flush()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                                   errors='replace', env=dict(os.environ, **env), cwd=str(ROOT), start_new_session=True)

        def read() -> None:
            for line in process.stdout:
                out.write(line)
                out.flush()
                progress.feed(line)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                reader.join(0.5)
                progress.show()
            return process.wait() == 0
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            reader.join(5)
            raise
        finally:
            progress.clear()


class Setup:
    """The steps, in the order in which :meth:`run` takes them."""

    def __init__(self, venv: Path, stack: str) -> None:
        self.venv, self.stack = venv, stack
        self.python = str(venv / 'bin' / 'python')
        self.log = venv / 'setup.log'
        self.constraints = venv / 'constraints.txt'
        self.mmcv = next(line for line in requirement_lines(stack) if re.match(r'(onedl-)?mmcv==', line))
        self.wheel_pattern = self.mmcv.replace('-', '_').replace('==', '-') + '-*.whl'

    def command(self, command: list, failure: str, **env: str) -> None:
        """Run a command or raise with the end of its log."""
        if watch(command, self.log, **env):
            return
        lines = self.log.read_text(errors='replace').rpartition('\n$ ')[2].splitlines()
        # A compiler's errors stand far above the end, which is pip's own trace.
        errors = [line for line in lines[:-40] if re.search(r'\berror: |Killed', line)][:5]
        raise SetupError('\n'.join([*errors, *lines[-40:], '', failure, f'The whole log is {self.log}']))

    def pip(self, *args: str, failure: str) -> None:
        self.command([self.python, '-m', 'pip', *args], failure)

    def install(self, *args: str) -> None:
        """``pip install`` under the constraint of the torch that is installed.

        Bytecode is left to the first import: most of what is installed is never imported.
        """
        constraint = ['-c', str(self.constraints)] if self.constraints.exists() else []
        self.pip('install', '--no-compile', *constraint, *args, failure='pip could not install the above. Without a '
                 'network, behind a proxy or a mirror? Configure pip (`pip config`, PIP_* variables) and run again.')

    def installed(self, *names: str) -> dict:
        """Versions of the distributions that the environment holds, by name."""
        code = ('import importlib.metadata as m, json, sys; found = {d.metadata["Name"]: d.version for d in '
                'm.distributions()}; print(json.dumps({n: found[n] for n in sys.argv[1:] if n in found}))')
        return json.loads(output_of(self.python, '-c', code, *names) or '{}')

    def make_venv(self) -> None:
        version = '{}.{}'.format(*sys.version_info[:2])
        query = 'import pip, sys; print("{}.{}".format(*sys.version_info[:2]))'
        if output_of(self.python, '-c', query) == version:
            return
        say(f'[1/6] virtual environment {self.venv} (Python {version})')
        require_venv()
        # Over a half-made environment this repairs it; nothing that lies there is deleted.
        self.command([sys.executable, '-m', 'venv', str(self.venv)],
                     f'python3 -m venv failed: `apt install python3-venv`, or delete {self.venv} and run again.')
        if output_of(self.python, '-c', query) != version:
            raise SetupError(f'{self.venv} cannot be used (made by another Python?): delete it and run again.')

    def remove_other_stack(self) -> None:
        """Two stacks write the same files, so the other one goes first."""
        mine = stack_lines(self.stack)
        others = [line for other in STACKS if other != self.stack for line in stack_lines(other)]
        found = self.installed(*(line.partition('==')[0] for line in others))
        if found:
            say('      removing the other stack from this environment: ' + ', '.join(found))
            self.pip('uninstall', '-y', *(line.partition('==')[0] for line in others + mine),
                     failure=f'delete {self.venv} and run again.')

    def install_torch(self, gpu: str) -> tuple:
        """Install torch and pin it for every later call of pip.

        Returns:
            tuple[str, str]: Its version and its CUDA release ('' for a CPU build).
        """
        pin, = requirement_lines('torch')
        found = self.installed('torch').get('torch', '')
        if found.partition('+')[0] != pin.partition('==')[2] or (gpu and found.endswith('+cpu')):
            for what, args in torch_attempts(pin, bool(gpu)):
                say(f'[3/6] {pin}: {what}')
                command = [self.python, '-m', 'pip', 'install', '--no-compile', '-c', str(REQUIREMENTS / 'common.txt'),
                           '-c', str(REQUIREMENTS / 'build.txt'), *args]
                if watch(command, self.log):
                    break
            else:
                raise SetupError(f'pip finds no {pin} for this Python; the log is {self.log}')
        code = 'import json, torch; print(json.dumps([torch.__version__, torch.version.cuda]))'
        version, cuda = json.loads(output_of(self.python, '-c', code) or '["", null]')
        if not version:
            raise SetupError(f'the torch in {self.venv} does not import: delete that folder and run again.')
        self.constraints.write_text('torch=={}\n'.format(self.installed('torch')['torch']))
        return version, cuda or ''

    def install_mmcv(self, torch_version: str, ops: str, cache: Path) -> None:
        """Install mmcv from the cache, or compile it into the cache first."""
        python_tag = 'cp{}{}'.format(*sys.version_info[:2])
        machine = f'{platform.system().lower()}_{platform.machine()}'
        folder = cache / wheel_key(torch_version, python_tag, ops, machine)
        for wheel in folder.glob(self.wheel_pattern):
            say(f'[5/6] {self.mmcv} from {wheel}')
            self.install('--no-deps', '--force-reinstall', str(wheel))
            if output_of(self.python, '-c', 'import mmcv.ops; print(1)'):
                return
            say('      that wheel does not load here (another C library?): building it again')
        require_compiler(self.python)
        jobs = compile_jobs()
        say('[5/6] {}: compiling its {} ops, {} at a time (about 6 minutes on 2 cores, once for each torch)'.format(
            self.mmcv, 'CUDA' if ops != 'cpu' else 'CPU', jobs))
        # mmcv compiles for CUDA whenever torch sees a GPU: hide the GPU where the compiler for it is missing.
        cuda = {'FORCE_CUDA': '1'} if ops != 'cpu' else {'FORCE_CUDA': '0', 'CUDA_VISIBLE_DEVICES': ''}
        # Python's own flags ask for debug symbols, which take a quarter of the time and nearly all of the space.
        flags = {name: f'{os.environ.get(name, "")} -g0' for name in ('CFLAGS', 'CXXFLAGS')}
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=str(folder)) as building:
            # pip's own cache does not know of torch, so a wheel from it may belong to another one.
            self.command([self.python, '-m', 'pip', 'wheel', '-v', '--no-deps', '--no-build-isolation',
                          '--no-cache-dir', '--no-binary', self.mmcv.partition('==')[0], '-w', building, self.mmcv],
                         'mmcv did not compile. Out of memory? Run again with fewer programs beside it.',
                         MMCV_WITH_OPS='1', MAX_JOBS=str(jobs), **flags, **cuda)
            built, = Path(building).glob('*.whl')
            wheel = folder / built.name
            os.replace(str(built), str(wheel))  # within one folder: another run sees all of it or nothing
        self.install('--no-deps', '--force-reinstall', str(wheel))

    def run(self) -> None:
        started = time.monotonic()
        self.make_venv()
        cache = wheel_cache(self.venv)
        if not any(cache.glob('*/' + self.wheel_pattern)):
            require_compiler(self.python)
        self.remove_other_stack()
        say('[2/6] build tools and dependencies')
        self.install('--no-deps', *(f'-r{REQUIREMENTS / name}.txt' for name in ('build', 'common', 'dev')))
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
        self.command([self.python, '-c', IMPORTS], f'This does not import: delete {self.venv} and run again.')
        took = duration(time.monotonic() - started)
        say(f'{self.venv} is ready: torch {version}, the {self.stack} stack; took {took}')


def settle_environment(venv: Path) -> None:
    """Settings for every command of ours: into the environment, with the environment's tools, without questions."""
    for name in FOREIGN_SETTINGS:
        os.environ.pop(name, None)
    os.environ.update(PIP_USER='0', PIP_NO_INPUT='1', PIP_DISABLE_PIP_VERSION_CHECK='1', PYTHONNOUSERSITE='1',
                      PYTHONUNBUFFERED='1', PATH=str(venv / 'bin') + os.pathsep + os.environ.get('PATH', os.defpath))


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--venv', type=Path, default=ROOT / '.venv', help='folder of the environment')
    parser.add_argument('--stack', choices=STACKS, default='default', help='which mmengine, mmcv and mmdet')
    parser.add_argument('--force', action='store_true', help='go through all steps even if all seems to be there')
    args = parser.parse_args()
    venv = Path(os.path.abspath(str(args.venv)))
    stamp = venv / 'setup.stamp'

    def is_ready() -> bool:
        is_made = stamp.exists() and (venv / 'bin' / 'python').exists()
        return is_made and stamp.read_text() == environment_digest(args.stack, venv)

    if is_ready() and not args.force:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a compiler that we started stops too
    try:
        use_supported_python()
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
