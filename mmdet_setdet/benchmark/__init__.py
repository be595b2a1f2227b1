"""Ours against its peers, timed in one run.

A row is a function from options to cases; a new one is a module with ``cases`` and an entry of ``ROWS``.
"""
from . import backbone, deformable_attention, growth, inference, matching, memory, train_step, transport
from .growth import plot_growth
from .options import Options
from .timing import Case, Contender, Measurement, as_table, measure

ROWS = {
    'matching': matching.cases,
    'train-step': train_step.cases,
    'inference': inference.cases,
    'memory': memory.cases,
    'growth': growth.cases,
    'deformable-attention': deformable_attention.cases,
    'backbone': backbone.cases,
    'backbone-growth': backbone.growth_cases,
    'transport': transport.cases,
    'transport-growth': transport.growth_cases,
}

__all__ = ['Case', 'Contender', 'Measurement', 'Options', 'ROWS', 'as_table', 'measure', 'plot_growth']
