"""The console script ``setdet``: one command for everything, thin over the tools.

Commands are imported when they are called, so that those of exported models need neither torch nor mmcv.
"""

import importlib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError

PACKAGE = Path(__file__).parents[1]
# In a wheel, and in a checkout.
TOOLS = next(
    (
        folder
        for folder in (PACKAGE / '.mim' / 'tools', PACKAGE.parent / 'tools')
        if folder.is_dir()
    ),
    PACKAGE / '.mim' / 'tools',
)


class Command(NamedTuple):
    """A command: what it does, an example, and its module here or its script in ``tools/``."""

    text: str
    example: str
    module: str | None = None
    script: str | None = None


COMMANDS = dict(
    train=Command(
        'train a detector or classifier',
        'setdet train dn_detr_r50_50e --data my_images',
        script='train.py',
    ),
    test=Command(
        'evaluate a checkpoint',
        'setdet test CONFIG CKPT --eval bbox',
        script='test.py',
    ),
    predict=Command(
        'detect objects in pictures and videos',
        'setdet predict model.onnx photos/ --out results',
        module='predict',
    ),
    export=Command(
        'write a model to a file that runs without torch',
        'setdet export CONFIG CKPT --format onnx',
        module='export',
    ),
    doctor=Command(
        'check a folder of annotated images',
        'setdet doctor my_images',
        module='doctor',
    ),
    serve=Command(
        'serve an exported detector as a page',
        'setdet serve model.onnx',
        module='serve',
    ),
    convert=Command(
        "convert the authors' checkpoints",
        'setdet convert detr-r50-e632da11.pth detr_r50.pth',
        script='convert_checkpoint.py',
    ),
    benchmark=Command(
        'measure speed beside other code bases',
        'setdet benchmark matching --threads 2',
        script='benchmark.py',
    ),
)


def usage() -> str:
    """Return the text of ``setdet --help``."""
    width = max(map(len, COMMANDS))
    lines = ['usage: setdet COMMAND ...', '']
    for name, command in COMMANDS.items():
        lines += [f'  {name:{width}}  {command.text}', f'  {"":{width}}    {command.example}']
    return '\n'.join([*lines, '', 'setdet COMMAND --help tells the options of a command.'])


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``setdet``; an :class:`InputError` is printed as one line."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ('-h', '--help'):
        print(usage())
        return
    name, *rest = argv
    command = COMMANDS.get(name)
    if command is None:
        sys.exit(f'error: {name} is no command of setdet; there are {", ".join(COMMANDS)}')
    sys.argv = [f'setdet {name}', *rest]
    if command.script:
        _run_script(name, TOOLS / command.script)
        return
    try:
        importlib.import_module(f'.{command.module}', __name__).main(rest)
    except InputError as error:
        sys.exit(f'error: {error}')


def _run_script(name: str, script: Path) -> None:
    if not script.is_file():
        sys.exit(
            f'error: setdet {name} needs {script.name}, which this installation does not have; use a checkout of the '
            'repository'
        )
    # As for `python tools/NAME.py`: its neighbours can be imported.
    sys.path.insert(0, str(script.resolve().parent))
    runpy.run_path(str(script), run_name='__main__')
