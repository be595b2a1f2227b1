"""mmdet_setdet: set-prediction detectors for MMDetection 3.x.

Importing the package registers everything in it, so it is the target of ``custom_imports`` in a config. What else the
import changes is listed in :mod:`mmdet_setdet.mmengine_patches`.
"""

from .compat import check_stack
from .noise import ignore_warnings, without_prints
from .version import __version__

check_stack()  # before any part of the stack is imported, whose own errors are less helpful

ignore_warnings()
with without_prints():
    from . import (  # noqa: F401
        classification,
        datasets,
        engine,
        evaluation,
        models,
        visualization,
    )
from .mmengine_patches import apply_patches  # noqa: E402

apply_patches()

__all__ = ['__version__']
