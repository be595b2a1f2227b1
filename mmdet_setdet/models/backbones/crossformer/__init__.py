"""CrossFormer (arXiv 2108.00154) and CrossFormer++ (2303.06908)."""

from .archs import ARCHS, ATTENTIONS, POSITIONS
from .crossformer import CrossFormer

__all__ = ['ARCHS', 'ATTENTIONS', 'POSITIONS', 'CrossFormer']
