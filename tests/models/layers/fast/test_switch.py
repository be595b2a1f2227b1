"""The one switch of all fast paths."""

import os

import pytest
from helpers.fresh import run_fresh

from mmdet_setdet.models.layers import fast

PROGRAM = 'from mmdet_setdet.models.layers import fast; print(fast.enabled())'


@pytest.mark.parametrize(('value', 'expected'), [('0', 'False'), ('1', 'True')])
def test_environment_sets_it(value, expected):
    environment = {**os.environ, 'MMDET_SETDET_FAST': value}
    result = run_fresh('-c', PROGRAM, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-1] == expected


def test_context_sets_it_for_a_while():
    before = fast.enabled()
    with pytest.raises(KeyError), fast.use_fast_paths(not before):  # noqa: PT012
        assert fast.enabled() is not before
        raise KeyError
    assert fast.enabled() is before
