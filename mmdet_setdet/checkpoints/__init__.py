"""Weights from files: read safely (importing this is enough), and checked against the model."""
from .fit import check_fit
from .safe_load import strict_loading

__all__ = ['check_fit', 'strict_loading']
