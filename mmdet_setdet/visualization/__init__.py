"""Pictures of what a model predicts, of who is assigned to whom, and of how its training went."""
from .assignment import Assigned, draw_assignments
from .curves import plot_curves, read_scalars
from .sheet import draw_predictions

__all__ = ['Assigned', 'draw_assignments', 'draw_predictions', 'plot_curves', 'read_scalars']
