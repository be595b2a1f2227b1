"""Query groups: queries that are trained beside the matching queries."""

from .denoising import BoxPosition, Denoising, DenoisingQueries, masked_self_attention, noise_boxes
from .group import GroupQueries, QueryGroup, joint_mask
from .one_to_many import OneToMany

__all__ = [
    'BoxPosition',
    'Denoising',
    'DenoisingQueries',
    'GroupQueries',
    'OneToMany',
    'QueryGroup',
    'joint_mask',
    'masked_self_attention',
    'noise_boxes',
]
