"""mmdet_setdet.ResNet against mmdet's: numbers, names, checkpoints, and what is its own (folding, DC5)."""
import copy
import logging
import pickle

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.logging import MMLogger

MMDET_FROZEN = dict(norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True)


@torch.no_grad()
def random_norms(model):
    """Statistics and affine parameters that a norm of ones and zeros would hide."""
    for name, tensor in model.state_dict().items():
        if name.endswith('running_mean'):
            tensor.copy_(torch.randn_like(tensor) * 0.1)
        elif name.endswith('running_var'):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
        elif 'bn' in name or 'downsample.1' in name:
            tensor.copy_(torch.rand_like(tensor, dtype=torch.float) * 0.5 + (0.3 if name.endswith('weight') else -0.2))
    return model


def mmdets(depth=18, **kwargs):
    return random_norms(MODELS.build(dict(type='ResNet', depth=depth, **{**MMDET_FROZEN, **kwargs})))


def ours(depth=18, **kwargs):
    return MODELS.build(dict(type='mmdet_setdet.ResNet', depth=depth, **kwargs))


def images(size=64):
    return torch.randn(2, 3, size, size)


@pytest.mark.parametrize('depth, style', [(18, 'pytorch'), (50, 'pytorch'), (50, 'caffe')])
def test_outputs_and_gradients_equal_mmdets(depth, style):
    theirs, mine = mmdets(depth, style=style), ours(depth, style=style)
    result = mine.load_state_dict(theirs.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    x, outputs, gradients = images(), [], []
    for model in (theirs, mine):
        model.train()
        outputs.append(model(x))
        sum(out.square().mean() for out in outputs[-1]).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    for got, expected in zip(outputs[1], outputs[0]):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5 * expected.std().item())
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        assert (gradients[1][name] - expected).norm() <= 1e-4 * expected.norm(), name


def test_keys_are_mmdets():
    expected = [key for key in mmdets(50).state_dict() if not key.endswith('num_batches_tracked')]
    assert sorted(ours(50).state_dict()) == sorted(expected)


def test_frozen_norm_stays_frozen():
    model = ours(frozen_stages=1)
    model.load_state_dict(mmdets().state_dict())
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert not any('bn' in name or 'downsample.1' in name for name, _ in model.named_parameters())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1, weight_decay=0.1)
    model.train()
    model(images())[-1].sum().backward()
    optimizer.step()
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, before[name], atol=0, rtol=0)
    trained = {name.split('.')[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {'layer2', 'layer3', 'layer4'}


FORMATS = {
    'torchvision': lambda weights: {**weights, 'fc.weight': torch.ones(1000, 512), 'fc.bias': torch.ones(1000)},
    'DETR authors': lambda weights: dict(
        model={**{f'backbone.0.body.{key}': value for key, value in weights.items()},
               'transformer.encoder.layers.0.linear1.weight': torch.ones(2, 2), 'class_embed.bias': torch.ones(92)},
        epoch=149),
    'mmdet detector': lambda weights: dict(
        state_dict={**{f'backbone.{key}': value for key, value in weights.items()},
                    'bbox_head.fc_cls.bias': torch.ones(80)},
        meta=dict(epoch=12)),
    'mmdet backbone': lambda weights: dict(state_dict=weights, meta=dict(epoch=12)),
}


@pytest.mark.parametrize('name', FORMATS)
def test_pretrained_weights_load(name, tmp_path):
    source = mmdets()
    torch.save(FORMATS[name](dict(source.state_dict())), tmp_path / 'weights.pth')
    model = ours(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth')))
    messages, handler, logger = [], logging.Handler(), MMLogger.get_current_instance()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger.addHandler(handler)
    try:
        model.init_weights()
    finally:
        logger.removeHandler(handler)
    assert not [message for message in messages if 'missing' in message or 'unexpected' in message]
    weights = source.state_dict()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[key], atol=0, rtol=0)


@pytest.mark.parametrize('contract, expected', [(True, [1, 2, 2]), (False, [2, 2, 2])])
def test_dc5(contract, expected):
    model = ours(50, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), contract_dilation=contract)
    assert [block.conv2.dilation for block in model.layer4] == [(d, d) for d in expected]
    assert [block.conv2.padding for block in model.layer4] == [(d, d) for d in expected]
    with torch.no_grad():
        assert [out.shape[-1] for out in model(images()[:1])] == [16, 8, 4, 4]


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_fold_their_own_norms(clone):
    model, x = ours(), images()
    model.load_state_dict(mmdets().state_dict())
    with torch.no_grad():
        expected = model(x)[-1]
        twin = clone(model)
        torch.testing.assert_close(twin(x)[-1], expected)
        twin.layer4[0].bn1.running_mean.add_(1)
        assert (twin(x)[-1] - expected).abs().max() > 1e-3
        torch.testing.assert_close(model(x)[-1], expected)


def test_memory_layout_changes_no_number():
    models = [ours(channels_last=layout) for layout in (True, False, None)]
    weights, x = mmdets().state_dict(), images()
    outputs = []
    for model in models:
        model.load_state_dict(weights)
        with torch.no_grad():
            outputs.append(model(x)[-1])
    assert outputs[0].is_contiguous(memory_format=torch.channels_last) and outputs[1].is_contiguous()
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('depth', [18, 50])
def test_random_weights_keep_the_scale(depth):
    model = ours(depth)
    model.init_weights()
    with torch.no_grad():
        stds = [out.std().item() for out in model(images(96))]
    assert min(stds) > 0.05 and max(stds) < 10, stds


def test_checkpointing_gives_the_same_gradients():
    gradients, x, weights = [], images(), mmdets().state_dict()
    for with_cp in (False, True):
        model = ours(with_cp=with_cp)
        model.load_state_dict(weights)
        model(x.clone().requires_grad_())[-1].square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b)


def test_batch_norm_trains_from_scratch():
    model = ours(norm_cfg=dict(type='BN'), norm_eval=False)
    model.init_weights()
    theirs = mmdets(norm_cfg=dict(type='BN'), norm_eval=False, zero_init_residual=False)
    theirs.load_state_dict(model.state_dict())
    x = images()
    model.train()
    got, expected = model(x)[-1], theirs(x)[-1]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    got.sum().backward()
    assert model.bn1.weight.grad is not None and model.bn1.num_batches_tracked == 1
    torch.testing.assert_close(model.bn1.running_var, theirs.bn1.running_var)
