from .costs import pairwise_costs
from .hungarian import HungarianAssigner
from .matches import Matches
from .optimal_transport import Transport, exact_transport, sinkhorn
from .ota import Assignment, OTAAssigner
from .sinkhorn_query_assigner import SinkhornQueryAssigner

__all__ = [
    'Assignment', 'HungarianAssigner', 'Matches', 'OTAAssigner', 'SinkhornQueryAssigner', 'Transport',
    'exact_transport', 'pairwise_costs', 'sinkhorn'
]
