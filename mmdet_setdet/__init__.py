"""mmdet_setdet: set-prediction detectors for MMDetection 3.x.

Importing the package registers everything it has, so it is the target of ``custom_imports`` in a config.
"""
from .compat import check_stack
from .version import __version__

check_stack()  # before anything of the stack is imported, for its errors say less

from . import checkpoints, datasets, engine, evaluation, models, visualization  # noqa: E402, F401
from .config_names import register_with_mmengine  # noqa: E402

register_with_mmengine()

__all__ = ['__version__']
