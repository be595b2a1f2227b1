"""An exported detector as a page: with a server, by the standard library alone, or without."""

from .server import DetectionServer, Limits
from .static import write_page

__all__ = ['DetectionServer', 'Limits', 'write_page']
