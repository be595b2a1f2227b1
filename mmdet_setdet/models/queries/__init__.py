"""Query groups: queries that are trained beside the matching queries."""

from .denoising import (
    BoxPosition,
    Denoising,
    DenoisingQueries,
    DINODenoising,
    masked_self_attention,
    noise_boxes,
)
from .group import Assigner, GroupQueries, QueryGroup, joint_mask
from .one_to_many import OneToMany
from .proposals import Proposals

__all__ = [
    'Assigner',
    'BoxPosition',
    'DINODenoising',
    'Denoising',
    'DenoisingQueries',
    'GroupQueries',
    'OneToMany',
    'Proposals',
    'QueryGroup',
    'joint_mask',
    'masked_self_attention',
    'noise_boxes',
]
