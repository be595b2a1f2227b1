"""Ours against its peers, timed in one run.

A row is a function from options to cases; a new one is a module with ``cases`` and an entry of ``ROWS``.
"""
from . import inference, matching, train_step
from .options import Options
from .timing import Case, Contender, Measurement, as_table, measure

ROWS = {
    'matching': matching.cases,
    'train-step': train_step.cases,
    'inference': inference.cases,
}

__all__ = ['Case', 'Contender', 'Measurement', 'Options', 'ROWS', 'as_table', 'measure']
