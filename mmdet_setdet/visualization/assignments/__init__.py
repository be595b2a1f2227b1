"""Pictures of assignments: which predictions of a model each ground truth gets from several assigners.

:func:`labelled_images` picks images of a data set, :func:`predict` runs the model on one, its result compares the
assigners, :func:`draw_assignments` draws them side by side.
"""

from .drawing import AssignerResult, draw_assignments
from .labelled_images import LabelledImage, labelled_images
from .predictions import TITLES, PointPredictions, QueryPredictions, allowed_assigners, predict

__all__ = [
    'TITLES',
    'AssignerResult',
    'LabelledImage',
    'PointPredictions',
    'QueryPredictions',
    'allowed_assigners',
    'draw_assignments',
    'labelled_images',
    'predict',
]
