"""Running: a runner that checks its input, resuming, and the common parts of the command-line tools."""

from .resume import ResumableEpochLoop, find_checkpoint
from .runner import CheckingRunner

__all__ = ['CheckingRunner', 'ResumableEpochLoop', 'find_checkpoint']
