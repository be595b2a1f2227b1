"""mmdet_setdet: set-prediction detectors for MMDetection 3.x.

Importing the package registers everything in it, so it is the target of ``custom_imports`` in a config. What else the
import changes is listed in :mod:`mmdet_setdet.mmengine_patches`.

Where neither torch nor mmengine is installed, :mod:`mmdet_setdet.runtime` alone works: inference with exported models.
"""

from .installed import any_of_the_stack
from .version import __version__

__all__ = ['__version__']

if any_of_the_stack():
    from .compat import check_stack
    from .noise import ignore_warnings, without_prints

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
    from .mmengine_patches import apply_patches

    apply_patches()

    from .set_detector import SetDetector

    __all__ += ['SetDetector']
