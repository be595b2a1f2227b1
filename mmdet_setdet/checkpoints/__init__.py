"""Weights from files: read without running code, and converted from other code bases."""

from .safe_load import strict_loading

__all__ = ['strict_loading']
