"""Running commands: their output into a log, their progress onto the screen. Standard library only."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from decisions import ROOT, duration, parse_progress

SECONDS_BETWEEN_LINES = 15


class SetupError(Exception):
    """A step failed; the message says what to do."""


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def output_of(*command: str, even_if_it_fails: bool = False) -> str:
    """Return the standard output of a command; '' if it is missing or, unless its errors are wanted, fails."""
    errors = subprocess.STDOUT if even_if_it_fails else subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired):
        return ''
    is_wanted = done.returncode == 0 or even_if_it_fails
    return done.stdout.strip() if is_wanted else ''


class Progress:
    """The state of a running command: one line that is overwritten on a terminal, else a line every 15 seconds."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.compile_start = self.start
        self.status = ''

    def feed(self, line: str) -> None:
        step = parse_progress(line)
        if step:
            done, total = step
            self.status = f'compiled {done}/{total}'
            if done >= 5:
                seconds_each = (time.monotonic() - self.compile_start) / done
                self.status += f', about {duration(seconds_each * (total - done))} left'
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
    """Run a command, log its output and show its progress; stop it and its children if we are stopped.

    Returns:
        bool: Whether it succeeded.
    """
    progress = Progress()
    with log.open('a') as out:
        out.write('\n$ ' + ' '.join(command) + '\n')
        out.flush()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            errors='replace',
            env=dict(os.environ, **env),
            cwd=str(ROOT),
            start_new_session=True,
        )

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
