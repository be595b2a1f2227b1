"""Pictures of what a model predicts and of how its training went."""
from .curves import plot_curves, read_scalars
from .labels import LabelVisualizer
from .sheet import draw_predictions

__all__ = ['LabelVisualizer', 'draw_predictions', 'plot_curves', 'read_scalars']
