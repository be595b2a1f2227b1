"""Running: a runner that checks its input, resuming, and the common parts of the command-line tools."""

from .compile_parts import CompileParts
from .resume import ResumableEpochLoop, find_checkpoint
from .runner import CheckingRunner

__all__ = ['CheckingRunner', 'CompileParts', 'ResumableEpochLoop', 'find_checkpoint']
