"""What only a GPU can tell; run by ``SETDET_TEST_CUDA=1 python -m pytest tests/test_cuda.py`` on a machine with one.

Each test is a function of the device. Without a GPU some of them run on the CPU, so that they themselves are known to
work; ``tests/devices`` runs every family on a fake GPU.
"""

import os
import warnings

import pytest
import torch
from helpers.families import FAMILIES, family_batch
from helpers.family_steps import (
    PRECISIONS,
    check_results,
    check_step,
    family_model,
    results,
    training_data,
    training_step,
)
from helpers.syncs import SYNCS, USUAL_SYNCS
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from mmdet_setdet.models.layers.fast.deformable_sampling import (
    _sample_by_mmcv,
    has_compiled_operator,
    sample_by_embedding_bag,
)

HAS_GPU = bool(os.environ.get('SETDET_TEST_CUDA')) and torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason='SETDET_TEST_CUDA is unset, or there is no GPU')
DEVICE = 'cuda' if HAS_GPU else 'cpu'
# Without a GPU a few are enough to see that the tests run.
TESTED = list(FAMILIES) if HAS_GPU else ['dn-detr', 'ota']


@pytest.fixture(autouse=True)
def _float32_is_float32():
    """No TF32, which rounds products to 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('family', TESTED)
def test_a_step_and_results(family, precision):
    model = family_model(family, DEVICE)
    check_step(training_step(model, training_data(model, family), DEVICE, precision), DEVICE)
    check_results(results(model, family, DEVICE, precision), DEVICE)


@needs_gpu
@pytest.mark.parametrize('family', [name for name in FAMILIES if 'dn' not in name])
def test_losses_are_those_of_the_cpu(family):
    """Without denoising, whose noise differs from device to device, and without random augmentation."""
    if family == 'classifier':
        pytest.skip('mixes images at random')
    on_cpu = family_model(family, 'cpu')
    expected = training_step(on_cpu, training_data(on_cpu, family), 'cpu')
    model = family_model(family, 'cuda')
    step = training_step(model, training_data(model, family), 'cuda')
    losses = {name: loss.cpu() for name, loss in step.losses.items() if 'dn' not in name}
    expected_losses = {name: expected.losses[name] for name in losses}
    torch.testing.assert_close(losses, expected_losses, rtol=1e-3, atol=1e-3)


@needs_gpu
@pytest.mark.parametrize('family', FAMILIES)
def test_the_host_waits_no_more_often_than_on_the_fake_gpu(family):
    model = family_model(family, 'cuda')
    data = training_data(model, family)
    model(**data, mode='loss')  # tries the compiled operator, and sends constants that are kept
    torch.cuda.synchronize()
    in_loss, losses = count_syncs(lambda: model(**data, mode='loss'))
    in_backward, _ = count_syncs(sum(losses.values()).backward)
    expected, _ = SYNCS.get(family, USUAL_SYNCS)
    assert len(in_loss) <= expected, in_loss
    assert not in_backward


def count_syncs(function):
    """Return torch's warnings of synchronising calls within a function, and the function's result."""
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            result = function()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    messages = [str(warning.message) for warning in caught]
    return [message for message in messages if 'synchroniz' in message], result


@needs_gpu
def test_mmcvs_compiled_operator_is_ours():
    device = torch.device('cuda', 0)
    if not has_compiled_operator(device):
        pytest.skip("mmcv is built without CUDA's operators")
    shapes = [(6, 8), (3, 4), (1, 2)]
    num_tokens = sum(h * w for h, w in shapes)
    torch.manual_seed(0)
    value = torch.randn(3, num_tokens, 4, 8, device=device, requires_grad=True)
    points = torch.rand(3, 5, 4, len(shapes), 2, 2, device=device) * 8 - 1
    points.requires_grad_()
    weights = torch.rand(3, 5, 4, len(shapes), 2, device=device, requires_grad=True)
    inputs = (value, points, weights)
    outputs = (
        _sample_by_mmcv(value, shapes, points, weights, 64),
        sample_by_embedding_bag(value, shapes, points, weights),
    )
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)
    grad = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad(output, inputs, grad) for output in outputs]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('family', TESTED)
def test_training_goes_on_from_a_checkpoint(family, tmp_path):
    """Weights and optimizer return as they were saved, whatever device they come from."""
    model, wrapper = trained(family)
    saved = dict(model=model.state_dict(), optimizer=wrapper.state_dict())
    torch.save(saved, tmp_path / 'checkpoint.pth')

    loaded = torch.load(tmp_path / 'checkpoint.pth', map_location='cpu', weights_only=True)
    other, other_wrapper = trained(family)
    other.load_state_dict(loaded['model'])
    other_wrapper.load_state_dict(loaded['optimizer'])
    for name, tensor in model.state_dict().items():
        assert other.state_dict()[name].device.type == DEVICE
        assert torch.equal(other.state_dict()[name], tensor), name
    take_step(other, other_wrapper, family)
    assert all(parameter.isfinite().all() for parameter in other.parameters())


def trained(family):
    """Return a model after one step, and its optimizer; in mixed precision on a GPU."""
    model = family_model(family, DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    wrapper = AmpOptimWrapper(optimizer=optimizer) if HAS_GPU else OptimWrapper(optimizer)
    take_step(model, wrapper, family)
    return model, wrapper


def take_step(model, wrapper, family):
    losses = model.train_step(family_batch(family), wrapper)
    assert losses['loss'].isfinite()
