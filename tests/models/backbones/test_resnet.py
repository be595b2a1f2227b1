"""mmdet_setdet.ResNet against mmdet's: numbers, names, and its own features (folded norms, DC5)."""

import copy
import pickle

import pytest
import torch
from mmdet.registry import MODELS

from mmdet_setdet.models.layers.fast import use_fast_paths

MMDET_FROZEN = dict(norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True)


@torch.no_grad()
def randomize_norms(model):
    """Give norms statistics and affine parameters whose omission would show."""
    for name, tensor in model.state_dict().items():
        if name.endswith('running_mean'):
            tensor.copy_(torch.randn_like(tensor) * 0.1)
        elif name.endswith('running_var'):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
        elif 'bn' in name or 'downsample.1' in name:
            offset = 0.3 if name.endswith('weight') else -0.2
            tensor.copy_(torch.rand_like(tensor, dtype=torch.float) * 0.5 + offset)
    return model


def mmdets(depth=18, **options):
    return randomize_norms(
        MODELS.build(dict(type='ResNet', depth=depth, **{**MMDET_FROZEN, **options}))
    )


def ours(depth=18, **options):
    return MODELS.build(dict(type='mmdet_setdet.ResNet', depth=depth, **options))


def images(size=64):
    return torch.randn(2, 3, size, size)


def maps_and_gradients(model, x):
    model.train()
    maps = model(x)
    sum(stage_map.square().mean() for stage_map in maps).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return maps, gradients


@pytest.mark.parametrize('fast', [True, False])
@pytest.mark.parametrize(
    'options',
    [
        dict(depth=18),
        dict(depth=50),
        dict(depth=50, style='caffe'),
        dict(depth=50, avg_down=True),
        dict(depth=18, deep_stem=True),
    ],
    ids=str,
)
def test_outputs_and_gradients_equal_mmdets(options, fast):
    reference = mmdets(**options)
    model = ours(**options)
    result = model.load_state_dict(reference.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    x = images()
    expected_maps, expected_gradients = maps_and_gradients(reference, x)
    with use_fast_paths(fast):
        maps, gradients = maps_and_gradients(model, x)
    for got, expected in zip(maps, expected_maps, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5 * expected.std().item())
    assert gradients.keys() == expected_gradients.keys()
    for name, expected in expected_gradients.items():
        assert (gradients[name] - expected).norm() <= 1e-4 * expected.norm(), name


def test_keys_are_mmdets():
    expected = [key for key in mmdets(50).state_dict() if not key.endswith('num_batches_tracked')]
    assert sorted(ours(50).state_dict()) == sorted(expected)


def test_frozen_norm_stays_frozen():
    model = ours(frozen_stages=1)
    model.load_state_dict(mmdets().state_dict())
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert not any('bn' in name or 'downsample.1' in name for name, _ in model.named_parameters())
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.1, weight_decay=0.1)
    model.train()
    model(images())[-1].sum().backward()
    optimizer.step()
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, before[name], atol=0, rtol=0)
    trained_parts = {name.split('.')[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained_parts == {'layer2', 'layer3', 'layer4'}


@pytest.mark.parametrize(('contract', 'expected'), [(True, [1, 2, 2]), (False, [2, 2, 2])])
def test_dc5(contract, expected):
    model = ours(50, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), contract_dilation=contract)
    assert [block.conv2.dilation for block in model.layer4] == [(d, d) for d in expected]
    assert [block.conv2.padding for block in model.layer4] == [(d, d) for d in expected]
    with torch.no_grad():
        assert [stage_map.shape[-1] for stage_map in model(images()[:1])] == [16, 8, 4, 4]


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_have_norms_of_their_own(clone):
    model = ours()
    model.load_state_dict(mmdets().state_dict())
    x = images()
    with torch.no_grad():
        expected = model(x)[-1]
        twin = clone(model)
        torch.testing.assert_close(twin(x)[-1], expected)
        twin.layer4[0].bn1.running_mean.add_(1)
        assert (twin(x)[-1] - expected).abs().max() > 1e-3
        torch.testing.assert_close(model(x)[-1], expected)


def test_memory_layout_changes_no_number():
    weights = mmdets().state_dict()
    x = images()
    outputs = {}
    for layout in (True, False, None):
        model = ours(channels_last=layout)
        model.load_state_dict(weights)
        with torch.no_grad():
            outputs[layout] = model(x)[-1]
    assert outputs[True].is_contiguous(memory_format=torch.channels_last)
    assert outputs[False].is_contiguous()
    for output in outputs.values():
        torch.testing.assert_close(output, outputs[True], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('depth', [18, 50])
def test_random_weights_keep_the_scale(depth):
    model = ours(depth)
    model.init_weights()
    with torch.no_grad():
        stds = [stage_map.std().item() for stage_map in model(images(96))]
    assert min(stds) > 0.05, stds
    assert max(stds) < 10, stds


@pytest.mark.parametrize(('depth', 'last_norm'), [(18, 'bn2'), (50, 'bn3')])
def test_zero_init_residual_is_mmdets(depth, last_norm):
    model = ours(depth, zero_init_residual=True, norm_cfg=dict(type='BN'))
    model.init_weights()
    assert not getattr(model.layer2[0], last_norm).weight.any()


def test_checkpointing_gives_the_same_gradients():
    x = images()
    weights = mmdets().state_dict()
    gradients = []
    for with_cp in (False, True):
        model = ours(with_cp=with_cp)
        model.load_state_dict(weights)
        model(x.clone().requires_grad_())[-1].square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_plugins_are_mmdets():
    plugin = dict(
        cfg=dict(type='ContextBlock', ratio=1 / 16),
        stages=(False, True, True, True),
        position='after_conv3',
    )
    reference = mmdets(50, plugins=[plugin])
    model = ours(50, plugins=[plugin])
    model.load_state_dict(reference.state_dict())
    reference.eval()
    x = images()
    with torch.no_grad():
        torch.testing.assert_close(model(x)[-1], reference(x)[-1], rtol=1e-4, atol=1e-4)


def test_batch_norm_trains_from_scratch():
    model = ours(norm_cfg=dict(type='BN'), norm_eval=False)
    model.init_weights()
    reference = mmdets(norm_cfg=dict(type='BN'), norm_eval=False, zero_init_residual=False)
    reference.load_state_dict(model.state_dict())
    x = images()
    model.train()
    got = model(x)[-1]
    torch.testing.assert_close(got, reference(x)[-1], rtol=1e-4, atol=1e-4)
    got.sum().backward()
    assert model.bn1.weight.grad is not None
    assert model.bn1.num_batches_tracked == 1
    torch.testing.assert_close(model.bn1.running_var, reference.bn1.running_var)
