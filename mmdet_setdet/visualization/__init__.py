"""Pictures of a model's predictions and of its training; :mod:`.assignments` has those of assignments."""

from .curves import plot_curves, plot_validations, read_scalars
from .hooks import save_test_pictures
from .panoptic import PanopticVisualizer
from .sheet import draw_predictions

__all__ = [
    'PanopticVisualizer',
    'draw_predictions',
    'plot_curves',
    'plot_validations',
    'read_scalars',
    'save_test_pictures',
]
