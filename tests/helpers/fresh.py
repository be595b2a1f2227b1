"""Programs that begin as ``python FILE`` and ``python -c CODE`` do, without the 5 seconds that others' packages take.

One process imports torch, mmengine and what else mmdet needs, and is copied for each program; it imports neither mmdet
nor this package. ``python -m helpers.fresh`` is that process.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from helpers.processes import Forked

# What an import of mmdet imports of others; some need not be installed.
IMPORTED = (
    'torch._dynamo',
    'torch.onnx',
    'mmengine.runner',
    'mmcv.ops',
    'matplotlib.pyplot',
    'pycocotools.mask',
    'scipy.ndimage',
    'scipy.stats',
    'imgaug',
)


def run_fresh(*arguments, cwd=None, env=None) -> subprocess.CompletedProcess:
    """Run a program to its end.

    Args:
        *arguments (str | Path): What follows ``python``: ``-c`` and code, or a file, and the arguments of either.
        cwd (str | Path, optional): Its folder.
        env (dict, optional): Environment variables, in place of this process's. Those that Python or torch read when
            they start have no effect, but for PYTHONPATH.

    Returns:
        subprocess.CompletedProcess: With ``returncode``, and ``stdout`` and ``stderr`` as text.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = dict(
            arguments=[str(argument) for argument in arguments],
            cwd=str(cwd or Path.cwd()),
            env=dict(env or os.environ),
            out=folder,
        )
        template = _template()
        template.stdin.write(json.dumps(job) + '\n')
        template.stdin.flush()
        code = int(template.stdout.readline())
        out, err = (Path(folder, name).read_text() for name in ('stdout', 'stderr'))
    return subprocess.CompletedProcess(arguments, code, out, err)


@cache
def _template() -> subprocess.Popen:
    """The process that is copied. It ends when this one does, which closes its input."""
    return subprocess.Popen(
        [sys.executable, '-m', 'helpers.fresh'],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _serve() -> None:
    """Import, then run a copy for each line of the input, and print how it ended."""
    for name in IMPORTED:
        if find_spec(name.partition('.')[0]):
            import_module(name)
    sys.path.remove(os.getcwd())  # where `-m` finds this module
    for line in sys.stdin:
        job = json.loads(line)
        out = Path(job.pop('out'))
        child = Forked(partial(_program, **job), out / 'stdout', out / 'stderr')
        print(child.wait(), flush=True)


def _program(arguments: list[str], cwd: str, env: dict) -> None:
    """Be the program, in a copy of the process."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:0] = [path for path in env.get('PYTHONPATH', '').split(os.pathsep) if path]
    _run(arguments)


def _run(arguments: list[str]) -> None:
    if arguments[0] == '-c':
        sys.path.insert(0, '')
        sys.argv = ['-c', *arguments[2:]]
        exec(compile(arguments[1], '<string>', 'exec'), dict(__name__='__main__'))
    else:
        sys.path.insert(0, str(Path(arguments[0]).parent))
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name='__main__')


if __name__ == '__main__':
    _serve()
