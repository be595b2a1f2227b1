"""Weights from files: read safely and, where their name says so, converted (importing this is enough); and checked."""
from . import published  # noqa: F401
from .safe_load import strict_loading

__all__ = ['strict_loading']
