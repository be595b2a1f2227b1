"""mmdet_setdet: set-prediction detectors for MMDetection 3.x.

Importing the package registers everything it has, so it is the target of ``custom_imports`` in a config.
"""
from . import datasets, engine, models  # noqa: F401
from .version import __version__

__all__ = ['__version__']
