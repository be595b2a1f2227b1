"""An exported detector as a page: the server, by the standard library alone, and the page itself."""

from .server import DetectionServer, Limits

__all__ = ['DetectionServer', 'Limits']
