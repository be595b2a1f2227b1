"""The blocks of code in the pages of the documentation, and the commands in them as a shell expands them."""

import re
import shlex
import subprocess
from typing import NamedTuple

from helpers.configs import REPOSITORY

PAGES = [REPOSITORY / 'README.md', *sorted((REPOSITORY / 'docs').glob('*.md'))]
BLOCK = re.compile(r'^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
# What a reader types, in a block that shows output as well.
TYPED = re.compile(r'^\$ ((?:.*\\\n)*.*\n)', re.MULTILINE)
SCRIPTS = [
    path.relative_to(REPOSITORY)
    for pattern in ('*.py', '*.sh')
    for path in sorted((REPOSITORY / 'tools').rglob(pattern))
]
# No program is found, and every call is printed instead.
SHOW = 'printf "%q " "$@"; echo'
PREAMBLE = f'command_not_found_handle() {{ {SHOW}; }}\n' + ''.join(
    f'function {name} {{ set -- {name} "$@"; {SHOW}; }}\n'
    for name in ['.venv/bin/python', *SCRIPTS]
)


class Block(NamedTuple):
    """A block of code: the name of its page, its number there, its language and its text."""

    page: str
    number: int
    language: str
    code: str

    def __str__(self):
        return f'{self.page}-{self.number}'


def python_blocks(text):
    """The Python of a page or of a part of it."""
    return [code for language, code in BLOCK.findall(text) if language == 'python']


def blocks():
    """All blocks of the English pages."""
    found = []
    for path in PAGES:
        if path.name.endswith('.zh.md'):
            continue
        text = path.read_text(encoding='utf-8')
        for number, (language, code) in enumerate(BLOCK.findall(text)):
            found.append(Block(path.name, number, language, code))
    return found


def calls(block, folder):
    """The commands of a block as lists of words; loops are run, programs are not."""
    code = block.code
    if block.language not in ('bash', 'shell'):
        code = ''.join(TYPED.findall(code))
    bash = subprocess.run(
        ['/bin/bash', '--noprofile', '--norc'],
        input=PREAMBLE + code,
        env=dict(PATH=str(folder)),
        cwd=folder,
        capture_output=True,
        encoding='utf-8',
        timeout=20,
    )
    assert not bash.stderr, f'{block}: {bash.stderr}'
    return [shlex.split(line) for line in bash.stdout.splitlines()]
