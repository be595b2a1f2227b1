from .base import BatchAssigner
from .costs import pairwise_costs
from .hungarian import HungarianAssigner
from .matches import Matches
from .optimal_transport import (
    Transport,
    decode_plan,
    dynamic_k,
    exact_transport,
    sinkhorn,
    with_background,
)
from .ota import BatchAssignResult, OTAAssigner
from .sinkhorn_query_assigner import SinkhornQueryAssigner, build_one_to_many
from .transport_problem import TransportProblem

__all__ = [
    'BatchAssignResult',
    'BatchAssigner',
    'HungarianAssigner',
    'Matches',
    'OTAAssigner',
    'SinkhornQueryAssigner',
    'Transport',
    'TransportProblem',
    'build_one_to_many',
    'decode_plan',
    'dynamic_k',
    'exact_transport',
    'pairwise_costs',
    'sinkhorn',
    'with_background',
]
