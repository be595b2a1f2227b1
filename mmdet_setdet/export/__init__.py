"""Models as files that run without mmcv and mmdet: graphs, their description, writers and the check."""

from .check import check_file
from .describe import default_size, describe, fixed_sizes
from .graphs import Graph, make_graph
from .write import PACKAGES, SUFFIXES, WRITERS, trace

__all__ = [
    'PACKAGES',
    'SUFFIXES',
    'WRITERS',
    'Graph',
    'check_file',
    'default_size',
    'describe',
    'fixed_sizes',
    'make_graph',
    'trace',
]
