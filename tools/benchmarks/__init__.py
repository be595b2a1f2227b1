"""Time this package against other implementations of the same computation, all in one run.

A row maps options to cases. To add one, write a module with a function ``cases`` and add it to ``ROWS``.
"""

from . import (
    backbone,
    compiled,
    deformable_attention,
    dino,
    evaluation,
    export,
    growth,
    inference,
    loading,
    masks,
    matching,
    memory,
    train_step,
    transport,
)
from .growth import plot_growth
from .options import Options
from .timing import Case, Contender, Measurement, as_table, measure

ROWS = {
    'matching': matching.cases,
    'train-step': train_step.cases,
    'inference': inference.cases,
    'export': export.cases,
    'masks': masks.cases,
    'dino': dino.cases,
    'memory': memory.cases,
    'growth': growth.cases,
    'deformable-attention': deformable_attention.cases,
    'backbone': backbone.cases,
    'backbone-growth': backbone.growth_cases,
    'compile': compiled.cases,
    'transport': transport.cases,
    'transport-growth': transport.growth_cases,
    'evaluation': evaluation.cases,
    'loading': loading.cases,
}

__all__ = [
    'ROWS',
    'Case',
    'Contender',
    'Measurement',
    'Options',
    'as_table',
    'measure',
    'plot_growth',
]
