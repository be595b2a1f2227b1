"""Build wheel and sdist into ``dist/``, check both and try the wheel in new environments; ``make release`` runs this.

What else lies in ``dist/``, such as trained weights, stays there and gets its line in ``SHA256SUMS`` too.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from versions import ROOT, check_versions

DIST = ROOT / 'dist'
WORK = ROOT / 'build'
SMOKE = Path(__file__).with_name('smoke.py')
LARGEST = 500_000  # bytes of the wheel
FOREIGN = {'benchmarks', 'release', 'setup', 'tests'}  # folders for developers
WANTED = ('py.typed', '.mim/model-index.yml', '.mim/configs/dn_detr_r50_50e.py')


def run(*command: str | Path) -> None:
    """Run a command away from the checkout's package; end with it if it fails."""
    words = [str(word) for word in command]
    print('$', *words, flush=True)
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    done = subprocess.run(words, cwd=WORK, env=environment)
    if done.returncode:
        raise SystemExit(f'error: this failed: {" ".join(words)}')


def build() -> list[Path]:
    """Return the new sdist and the wheel that is built from it."""
    for old in DIST.glob('mmdet_setdet-*'):
        old.unlink()
    run(sys.executable, '-m', 'build', '--outdir', DIST, ROOT)
    return [*DIST.glob('mmdet_setdet-*.tar.gz'), *DIST.glob('mmdet_setdet-*.whl')]


def check_wheel(wheel: Path) -> None:
    """Check that a wheel is small, whole, and without what is for developers.

    Raises:
        SystemExit: It is not.
    """
    size = wheel.stat().st_size
    names = zipfile.ZipFile(wheel).namelist()
    missing = [name for name in WANTED if f'mmdet_setdet/{name}' not in names]
    foreign = [name for name in names if FOREIGN & set(Path(name).parts)]
    if size > LARGEST:
        raise SystemExit(f'error: {wheel.name} has {size} bytes, more than {LARGEST}')
    if missing or foreign:
        raise SystemExit(f'error: {wheel.name} lacks {missing}, and should not have {foreign}')
    print(f'{wheel.name}: {size} bytes, {len(names)} files')


def new_environment(name: str, python: Path, *requirements: str) -> Path:
    """Return the Python of a new environment in which pip has installed something."""
    folder = WORK / name
    run(python, '-m', 'venv', '--clear', folder)
    run(folder / 'bin' / 'python', '-m', 'pip', 'install', '-q', *requirements)
    return folder / 'bin' / 'python'


def try_runtime(wheel: Path) -> None:
    """Try the wheel with the extra ``runtime`` alone."""
    run(new_environment('smoke-runtime', Path(sys.executable), f'{wheel}[runtime]'), SMOKE)


def try_beside(wheel: Path, stack: Path) -> None:
    """Try the wheel beside the stack of another environment, which is seen through a ``.pth`` file."""
    stack_python = stack.absolute() / 'bin' / 'python'
    python = new_environment(f'smoke{stack.name}', stack_python, '--no-deps', str(wheel))
    (own,) = python.parents[1].glob('lib/python*/site-packages')
    (theirs,) = stack.absolute().glob('lib/python*/site-packages')
    (own / 'stack.pth').write_text(f'{theirs}\n')
    run(python, SMOKE, '--stack')


def write_sums() -> None:
    """Write ``SHA256SUMS``, which ``sha256sum --check`` reads, of all files in ``dist/``."""
    sums = DIST / 'SHA256SUMS'
    lines = []
    for path in sorted(DIST.rglob('*')):
        if path.is_file() and path != sums:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f'{digest}  {path.relative_to(DIST)}\n')
    sums.write_text(''.join(lines))
    print(sums.read_text(), end='')


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--beside',
        type=Path,
        action='append',
        default=[],
        help='environment with a stack, beside which the wheel is tried too',
    )
    args = parser.parse_args()
    check_versions()
    WORK.mkdir(exist_ok=True)
    packages = build()
    run(sys.executable, '-m', 'twine', 'check', '--strict', *packages)
    wheel = packages[-1]
    check_wheel(wheel)
    try_runtime(wheel)
    for stack in args.beside:
        try_beside(wheel, stack)
    write_sums()


if __name__ == '__main__':
    main()
