"""Pictures of attention: where the queries of a DETR look, and the tokens of its encoder.

:func:`look` runs a detector on one image, :func:`draw_queries` and :func:`draw_points` draw what it returns.
"""

from .drawing import draw_points, draw_queries
from .looks import HeatMaps, Look, Samples, check_attention, look

__all__ = [
    'HeatMaps',
    'Look',
    'Samples',
    'check_attention',
    'draw_points',
    'draw_queries',
    'look',
]
