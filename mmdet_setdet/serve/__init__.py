"""An exported detector as a page: the server, by the standard library alone, and the page itself, with it or without."""

from .server import DetectionServer, Limits
from .static import write_page

__all__ = ['DetectionServer', 'Limits', 'write_page']
