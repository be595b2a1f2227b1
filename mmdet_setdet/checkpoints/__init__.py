"""Weights from files: read safely and, where their name says so, converted (importing this is enough); and checked."""
from . import published  # noqa: F401
from .fit import check_fit
from .safe_load import strict_loading

__all__ = ['check_fit', 'strict_loading']
