"""Running: the runner that checks its input, resuming, and what the command-line tools share."""
from .resume import ResumableEpochLoop, find_checkpoint
from .runner import CheckingRunner

__all__ = ['CheckingRunner', 'ResumableEpochLoop', 'find_checkpoint']
