"""Running: a runner that checks its input, resuming, and the common parts of the command-line tools."""

from .compile_parts import CompileParts
from .exported import ExportedDetector
from .optimizer_groups import GroupedOptimWrapperConstructor
from .precision import AutocastOptimWrapper, keep_in_float32
from .resume import ResumableEpochLoop, find_checkpoint
from .runner import CheckingRunner

__all__ = [
    'AutocastOptimWrapper',
    'CheckingRunner',
    'CompileParts',
    'ExportedDetector',
    'GroupedOptimWrapperConstructor',
    'ResumableEpochLoop',
    'find_checkpoint',
    'keep_in_float32',
]
