from .costs import pairwise_costs
from .hungarian import HungarianAssigner
from .plan import Plan

__all__ = ['HungarianAssigner', 'Plan', 'pairwise_costs']
