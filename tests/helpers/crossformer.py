"""A small CrossFormer for tests that need no published architecture."""

from golden import crossformer_cases as cases

from mmdet_setdet.models.backbones import CrossFormer

SMALL = dict(embed_dims=32, depths=(2, 2, 3, 2))


def small(**options):
    """Few channels, seeded weights with which all branches matter, evaluation mode."""
    return cases.seeded_weights(CrossFormer(**{'arch': SMALL, **options}))


def sum_of_squares(maps):
    """A loss on all maps."""
    return sum(stage_map.square().mean() for stage_map in maps)
