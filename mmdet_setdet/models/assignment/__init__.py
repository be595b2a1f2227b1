from .costs import pairwise_costs
from .hungarian import HungarianAssigner
from .one_to_many import OneToManyAssigner
from .optimal_transport import Transport, exact_plan, sinkhorn
from .ota import Assignment, OTAAssigner
from .plan import Plan

__all__ = [
    'Assignment', 'HungarianAssigner', 'OTAAssigner', 'OneToManyAssigner', 'Plan', 'Transport', 'exact_plan',
    'pairwise_costs', 'sinkhorn'
]
