"""Threads make room for other programs."""

import pytest
import torch

from mmdet_setdet.engine import spare_cores
from mmdet_setdet.engine.spare_cores import SpareCoresHook, Usage, measure, threads_beside


@pytest.fixture
def four_threads():
    """Four threads for the test, whatever the machine has."""
    torch.set_num_threads(4)


@pytest.fixture
def usages(monkeypatch):
    """What is measured next, one after the other, on four cores."""
    values = [Usage(0.0, 0.0, 0.0)]
    monkeypatch.setattr(spare_cores, 'measure', lambda: values.pop(0))
    monkeypatch.setattr(spare_cores.os, 'sched_getaffinity', lambda pid: set(range(4)))
    return values


@pytest.mark.parametrize(
    ('others', 'most', 'threads'),
    [
        (0.0, 4, 4),
        (0.3, 4, 4),
        (1.0, 4, 3),
        (4.0, 4, 1),
        (9.0, 4, 1),
        (-0.2, 4, 4),
        (1.9, 2, 2),  # half as many threads as cores: nobody is in the way
    ],
)
def test_others_keep_their_cores(usages, others, most, threads):
    assert threads_beside(others, most) == threads


def test_threads_follow_the_load(four_threads, usages):
    hook = SpareCoresHook(interval=0.0)
    seen = []
    # 10 s each: alone; beside two busy programs; alone again.
    for usage in (Usage(10, 40, 40), Usage(20, 80, 60), Usage(30, 100, 80)):
        usages.append(usage)
        hook.before_train_iter(None, 0)
        seen.append(torch.get_num_threads())
    assert seen == [4, 2, 4]


def test_it_looks_once_per_interval(four_threads, monkeypatch):
    hook = SpareCoresHook(interval=1000.0)
    monkeypatch.setattr(spare_cores, 'measure', lambda: pytest.fail('looked too early'))
    hook.before_test_iter(None, 0)


def test_a_given_number_of_threads_stays(four_threads, monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    assert SpareCoresHook.is_useful()
    monkeypatch.setenv('OMP_NUM_THREADS', '4')
    assert not SpareCoresHook.is_useful()


@pytest.mark.parametrize('content', [None, 'cpu 1 2 3 4 5 6 7 8 9 10'])
def test_without_the_use_of_the_cores_the_threads_stay(
    four_threads, monkeypatch, tmp_path, content
):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    stat = tmp_path / 'stat'
    if content:
        stat.write_text(content)
    monkeypatch.setattr(spare_cores, 'STAT', stat)
    assert not SpareCoresHook.is_useful()


def test_the_work_of_this_process_is_part_of_what_the_cores_did():
    before = measure()
    sum(range(3_000_000))
    after = measure()
    assert after.own > before.own
    assert after.cores - before.cores >= 0.5 * (after.own - before.own)
