"""The published architectures of CrossFormer and the options of its ablations, and whether settings make sense."""

from collections.abc import Sequence
from typing import Any

from ....errors import InputError
from .attention import HEAD_DIMS

_PLUS = dict(group_sizes=(4, 4, 14, 7), intervals=(4, 2, 1, 1), cooling=True)
ARCHS = {
    'tiny': dict(embed_dims=64, depths=(1, 1, 8, 6), drop_path_rate=0.1),
    'small': dict(embed_dims=96, depths=(2, 2, 6, 2), drop_path_rate=0.2),
    'base': dict(embed_dims=96, depths=(2, 2, 18, 2), drop_path_rate=0.3),
    'large': dict(embed_dims=128, depths=(2, 2, 18, 2), drop_path_rate=0.5),
    'plus-small': dict(embed_dims=64, depths=(2, 2, 18, 2), drop_path_rate=0.2, **_PLUS),
    'plus-base': dict(embed_dims=96, depths=(2, 2, 18, 2), drop_path_rate=0.3, **_PLUS),
    'plus-large': dict(embed_dims=128, depths=(2, 2, 18, 2), drop_path_rate=0.5, **_PLUS),
    'plus-huge': dict(embed_dims=128, depths=(6, 6, 18, 2), drop_path_rate=0.5, **_PLUS),
}
DEFAULTS = dict(group_sizes=(7, 7, 7, 7), intervals=(8, 4, 2, 1), cooling=False, drop_path_rate=0.0)
ATTENTIONS = ('short-long', 'short-long-map', 'short', 'swin', 'pvt')
POSITIONS = ('dynamic', 'dynamic-residual', 'relative', 'absolute', 'none')
# Biases for pairs of tokens within a group.
RELATIVE_POSITIONS = ('dynamic', 'dynamic-residual', 'relative')


def arch_settings(arch: str | dict, **changes: Any) -> dict:
    """Return the settings of an arch, completed by the defaults.

    Args:
        arch (str | dict): A key of ``ARCHS``, or settings.
        **changes: Settings that replace those of the arch unless they are None.

    Raises:
        InputError: The arch is unknown, or its settings are wrong or incomplete.
    """
    if isinstance(arch, str):
        check_choice('arch', arch, ARCHS)
        arch = ARCHS[arch]
    settings = {**DEFAULTS, **arch}
    for name, value in changes.items():
        if value is not None:
            settings[name] = value
    wrong = settings.keys() ^ {'embed_dims', 'depths', *DEFAULTS}
    if wrong:
        raise InputError(
            'CrossFormer: a dict as arch has embed_dims and depths and may have '
            f'{", ".join(DEFAULTS)}; wrong or missing: {", ".join(wrong)}'
        )
    _check_stages(settings)
    return settings


def check_choice(name: str, value: str, known: Sequence[str] | dict) -> None:
    """Raise an InputError that lists the known values if ``value`` is none of them."""
    if value not in known:
        raise InputError(
            f'CrossFormer: {name}={value!r} is not known; choose one of {", ".join(known)}'
        )


def check_position(attention: str, position: str) -> None:
    """Raise an InputError if the kinds of attention and position are unknown or cannot be combined."""
    check_choice('attention', attention, ATTENTIONS)
    check_choice('position', position, POSITIONS)
    no_bias = attention == 'pvt' and position in RELATIVE_POSITIONS
    no_table = attention == 'short-long-map' and position == 'relative'
    if no_bias or no_table:
        raise InputError(
            f'CrossFormer: position={position!r} cannot be combined with attention={attention!r}, whose '
            "groups grow with the image; choose 'absolute' or 'none'"
        )


def check_indices(num_stages: int, out_indices: Sequence[int], frozen_stages: int) -> None:
    """Raise an InputError if stages are named that do not exist."""
    indices_exist = all(0 <= index < num_stages for index in out_indices)
    if not out_indices or not indices_exist or frozen_stages > num_stages:
        raise InputError(
            f'CrossFormer: out_indices={tuple(out_indices)}, frozen_stages={frozen_stages}: there are '
            f'{num_stages} stages'
        )


def _check_stages(settings: dict) -> None:
    count = len(settings['depths'])
    for name in ('group_sizes', 'intervals'):
        values = settings[name]
        if len(values) != count or min(values) < 1:
            raise InputError(
                f'CrossFormer: {name}={values}: give {count} positive numbers, one per stage'
            )
    dims = settings['embed_dims']
    if dims % HEAD_DIMS:
        raise InputError(
            f'CrossFormer: embed_dims={dims}: heads have {HEAD_DIMS} channels, so give a multiple of that'
        )
