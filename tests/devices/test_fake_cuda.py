"""Every family on a fake GPU: devices and types, the numbers of the CPU, and how often the host waits for the device."""

import pytest
import torch
from helpers.fake_cuda import FakeCUDA
from helpers.families import FAMILIES
from helpers.family_steps import (
    PRECISIONS,
    check_results,
    check_step,
    family_model,
    results,
    training_data,
    training_step,
)

from mmdet_setdet.models.layers.fast import use_fast_paths
from mmdet_setdet.models.layers.fast.deformable_sampling import has_compiled_operator

DEFORMABLE = [family for family in FAMILIES if 'deformable' in family]
COMPILED = ('ms_deform_attn_forward', 'ms_deform_attn_backward')

# How often the host waits in forward and loss, in backward, and for results. One wait is for the matching costs, or two
# for OTA's problems; the others are constants of mmdet's losses (an epsilon, class weights), which it copies blockingly.
SIGMOID = (2, 0, 0)
SYNCS = {
}


@pytest.fixture(autouse=True)
def _operators_are_tried_again():
    has_compiled_operator.cache_clear()
    yield
    has_compiled_operator.cache_clear()


def test_it_is_a_gpu_only_within_the_context():
    with FakeCUDA():
        x = torch.ones(3, device='cuda')
        assert x.is_cuda
        assert x.device == torch.device('cuda:0')
        assert (x * 2).cpu().tolist() == [2, 2, 2]
        with pytest.raises(RuntimeError, match='on the CPU'):
            x + torch.ones(3)
        assert (x + torch.tensor(1)).is_cuda  # as on a GPU
    assert not torch.cuda.is_available()
    with pytest.raises(RuntimeError, match='within FakeCUDA only'):
        x + 1


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast_is_that_of_cuda(dtype):
    with FakeCUDA():
        x = torch.randn(2, 3, device='cuda')
        weight = torch.randn(4, 3, device='cuda', requires_grad=True)
        with torch.autocast('cuda', dtype=dtype):
            y = torch.nn.functional.linear(x, weight)
            assert y.dtype == dtype
            assert y.softmax(-1).dtype == torch.float32
        y.sum().backward()
        assert weight.grad.dtype == torch.float32


def test_waits_of_the_host_are_seen():
    with FakeCUDA() as gpu:
        x = torch.rand(5, device='cuda')
        for wait in (
            lambda: x[x > 0.5],
            lambda: bool(x.sum() > 0),
            lambda: x.cpu(),
            lambda: x.tolist(),
            lambda: x.nonzero(),
            lambda: x.new_tensor([1.0]),
            lambda: torch.tensor([1.0], device='cuda'),
            lambda: torch.unique(x),
            lambda: x.masked_select(x > 0.5),
        ):
            gpu.syncs.clear()
            wait()
            assert len(gpu.syncs) == 1
        gpu.syncs.clear()
        torch.where(x > 0.5, x, 0 * x).index_add(0, torch.arange(5, device='cuda'), x).clamp(min=1)
        torch.tensor([1.0]).to('cuda', non_blocking=True)
        assert not gpu.syncs
        assert gpu.num_copies == 1


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('family', FAMILIES)
def test_a_step_and_results(family, precision):
    with FakeCUDA():
        model = family_model(family, 'cuda')
        step = training_step(model, training_data(model, family), 'cuda', precision)
        check_step(step, 'cuda')
        check_results(results(model, family, 'cuda', precision), 'cuda')
