"""A virtual environment, and pip in it. Standard library only."""

import json
import re
import sys
from pathlib import Path

from commands import SetupError, output_of, say, watch
from machine import python_version, require_venv


class Environment:
    """A virtual environment with a log of all that was done to it.

    Args:
        venv (Path): Its folder.
    """

    def __init__(self, venv: Path) -> None:
        self.venv = venv
        self.python = str(venv / 'bin' / 'python')
        self.log = venv / 'setup.log'
        self.constraints = venv / 'constraints.txt'

    def command(self, command: list, failure: str, **env: str) -> None:
        """Run a command; if it fails, raise with the end of its log."""
        if watch(command, self.log, **env):
            return
        lines = self.last_output()
        # A compiler's errors are far above the end, which is pip's own trace.
        errors = [line for line in lines[:-40] if re.search(r'\berror: |Killed', line)]
        report = [*errors[:5], *lines[-40:], '', failure, f'The whole log is {self.log}']
        raise SetupError('\n'.join(report))

    def last_output(self) -> list:
        """Return the command that was run last and the lines that it printed."""
        return self.log.read_text(errors='replace').rpartition('\n$ ')[2].splitlines()

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
