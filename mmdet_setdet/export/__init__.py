"""Models as files that run without mmcv and mmdet: graphs, their description, writers and the check."""

from .check import check_file
from .export import check_request, export_model
from .graphs import Graph, make_graph
from .precision import TOLERANCES
from .write import SUFFIXES, WRITERS, trace

__all__ = [
    'SUFFIXES',
    'TOLERANCES',
    'WRITERS',
    'Graph',
    'check_file',
    'check_request',
    'export_model',
    'make_graph',
    'trace',
]
