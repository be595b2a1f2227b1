"""Every family on a fake GPU: devices and types, the numbers of the CPU, and waits of the host for the device."""

import pytest
import torch
from helpers.fake_cuda import FakeCUDA
from helpers.families import FAMILIES, family_batch
from helpers.family_steps import (
    check_results,
    check_step,
    family_model,
    results,
    training_data,
    training_step,
)
from helpers.syncs import SYNCS, USUAL_SYNCS

from mmdet_setdet.models.layers.fast import use_fast_paths
from mmdet_setdet.models.layers.fast.deformable_sampling import has_compiled_operator, on_device

DEFORMABLE = [family for family in FAMILIES if 'deformable' in family]
# A short run tries one of them.
HALF_PRECISIONS = [pytest.param('float16', marks=pytest.mark.slow), 'bfloat16']
COMPILED = ('ms_deform_attn_forward', 'ms_deform_attn_backward')


@pytest.fixture(autouse=True)
def _nothing_is_kept_of_the_device():
    for function in (has_compiled_operator, on_device):
        function.cache_clear()
    yield
    for function in (has_compiled_operator, on_device):
        function.cache_clear()


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


def preprocessed(family, device):
    """Return the model and its training batch on the device."""
    model = family_model(family, device)
    return model, training_data(model, family)


@pytest.mark.parametrize('precision', HALF_PRECISIONS)
@pytest.mark.parametrize('family', FAMILIES)
def test_types_and_devices_in_half_precision(family, precision):
    with FakeCUDA():
        model, data = preprocessed(family, 'cuda')
        check_step(training_step(model, data, 'cuda', precision), 'cuda')
        check_results(results(model, family, 'cuda', precision), 'cuda')


@pytest.mark.parametrize('family', FAMILIES)
def test_the_host_waits_no_more_often_than_before(family):
    expected = SYNCS.get(family, USUAL_SYNCS)
    with FakeCUDA() as gpu:
        model, data = preprocessed(family, 'cuda')
        if family in DEFORMABLE:
            has_compiled_operator(torch.device('cuda:0'))  # tried once in a process
        gpu.syncs.clear()
        losses = model(**data, mode='loss')
        in_loss = gpu.count()
        gpu.syncs.clear()
        sum(losses.values()).backward()
        in_backward = gpu.count()
        data = model.eval().data_preprocessor(family_batch(family), False)
        gpu.syncs.clear()
        with torch.no_grad():
            predicted = model(**data, mode='predict')
        in_predict = gpu.count()
        check_results(predicted, 'cuda')
    assert in_loss.total() == expected[0], in_loss
    assert not in_backward
    assert in_predict.total() == expected[1], in_predict


@pytest.mark.parametrize('without', [(), COMPILED], ids=['compiled', 'pure'])
@pytest.mark.parametrize('family', FAMILIES)
def test_the_gpus_paths_compute_what_plain_torch_does(family, without):
    if without and family not in DEFORMABLE:
        pytest.skip('has no compiled operator')
    with use_fast_paths(False):
        model, data = preprocessed(family, 'cpu')
        expected = training_step(model, data, 'cpu')
    with FakeCUDA(without):
        model, data = preprocessed(family, 'cuda')
        step = training_step(model, data, 'cuda')
        check_step(step, 'cuda')
    for name, loss in expected.losses.items():
        torch.testing.assert_close(step.losses[name].values, loss, rtol=1e-4, atol=1e-5)
    for name, gradient in expected.gradients.items():
        difference = step.gradients[name].values - gradient
        assert difference.norm() <= 0.02 * gradient.norm() + 1e-4, name
