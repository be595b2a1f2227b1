"""First weights of backbones, in the formats in which they are published."""

import copy
import logging

import pytest
import torch
from helpers.crossformer import SMALL, small
from mmdet.registry import MODELS
from mmengine.logging import MMLogger
from mmengine.runner import load_checkpoint

from mmdet_setdet.errors import InputError
from mmdet_setdet.models.backbones import CrossFormer, ResNet


@pytest.fixture
def log():
    """Messages of mmengine's logger."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def resnet_weights():
    torch.manual_seed(0)
    weights = MODELS.build(dict(type='ResNet', depth=18)).state_dict()
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            weights[name] = torch.rand_like(tensor)
    return dict(weights)


def with_stem(weights, stem, **others):
    return {**{stem + name: value for name, value in weights.items()}, **others}


# File from weights; prefix.
RESNET_FILES = {
    'torchvision': (
        lambda weights: {**weights, 'fc.weight': torch.ones(9, 512), 'fc.bias': torch.ones(9)},
        None,
    ),
    'mmdet backbone': (lambda weights: dict(state_dict=weights, meta=dict(epoch=12)), None),
    'distributed': (lambda weights: dict(state_dict=with_stem(weights, 'module.')), None),
    'DETR authors': (
        lambda weights: dict(
            model=with_stem(weights, 'backbone.0.body.', **{'class_embed.bias': torch.ones(92)}),
            epoch=149,
        ),
        'backbone.0.body.',
    ),
    'mmdet detector': (
        lambda weights: dict(
            state_dict=with_stem(weights, 'backbone.', **{'bbox_head.fc_cls.bias': torch.ones(80)}),
            meta={},
        ),
        'backbone',
    ),
}


def assert_loaded(model, weights):
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[name], atol=0, rtol=0)


@pytest.mark.parametrize('name', RESNET_FILES)
def test_resnet_loads(name, tmp_path, log):
    make_file, prefix = RESNET_FILES[name]
    weights = resnet_weights()
    file = str(tmp_path / 'weights.pth')
    torch.save(make_file(weights), file)
    model = ResNet(18, init_cfg=dict(type='Pretrained', checkpoint=file, prefix=prefix))
    model.init_weights()
    assert_loaded(model, weights)
    complaints = [message for message in log if 'missing' in message or 'unexpected' in message]
    if name == 'torchvision':
        assert len(complaints) == 1
        assert 'missing' not in complaints[0]
        assert 'unexpected key in source state_dict: fc.weight, fc.bias' in complaints[0]
    else:
        assert not complaints


TABLES = {
    'layers.0.blocks.0.attn.biases': torch.zeros(9, 2),
    'layers.0.blocks.0.attn.relative_position_index': torch.zeros(4, 4),
    'norm.weight': torch.ones(256),
    'head.bias': torch.zeros(9),
}
CROSSFORMER_FILES = {
    'classifier': (lambda weights: dict(model={**weights, **TABLES}, epoch=299), None),
    'detector': (
        lambda weights: dict(
            state_dict=with_stem(
                weights, 'backbone.', **{'neck.fpn_convs.0.conv.bias': torch.zeros(9)}
            ),
            meta={},
        ),
        'backbone.',
    ),
}


@pytest.mark.parametrize('name', CROSSFORMER_FILES)
def test_crossformer_loads_what_its_authors_publish(name, tmp_path):
    make_file, prefix = CROSSFORMER_FILES[name]
    weights = dict(small().state_dict())
    file = str(tmp_path / 'authors.pth')
    torch.save(make_file(weights), file)
    init_cfg = dict(type='Pretrained', checkpoint=file, prefix=prefix)
    model = MODELS.build(dict(type='CrossFormer', arch=SMALL, init_cfg=init_cfg))
    model.init_weights()
    assert_loaded(model, weights)


def test_the_norm_of_a_classifier_loads_if_the_model_has_it(tmp_path):
    weights = dict(small(final_norm=True).state_dict())
    file = str(tmp_path / 'authors.pth')
    torch.save(dict(model=weights), file)
    model = CrossFormer(SMALL, final_norm=True, init_cfg=dict(type='Pretrained', checkpoint=file))
    model.init_weights()
    assert_loaded(model, weights)


@pytest.mark.parametrize(
    ('prefix', 'message'),
    [
        (None, r"none of its weights fits the backbone\. .*add prefix='backbone\.' to init_cfg"),
        ('encoder', r"with prefix='encoder'\. .*add prefix='backbone\.' to init_cfg"),
    ],
)
def test_a_missing_or_wrong_prefix_is_named(prefix, message, tmp_path):
    file = str(tmp_path / 'detector.pth')
    torch.save(CROSSFORMER_FILES['detector'][0](dict(small().state_dict())), file)
    model = CrossFormer(SMALL, init_cfg=dict(type='Pretrained', checkpoint=file, prefix=prefix))
    with pytest.raises(InputError, match=message):
        model.init_weights()


def test_weights_of_another_backbone_are_refused(tmp_path):
    file = str(tmp_path / 'resnet.pth')
    torch.save(resnet_weights(), file)
    model = CrossFormer(SMALL, init_cfg=dict(type='Pretrained', checkpoint=file))
    with pytest.raises(
        InputError, match='begin with conv1.weight, .*those of the backbone with patch_embed'
    ):
        model.init_weights()


@pytest.mark.parametrize('name', CROSSFORMER_FILES)
def test_strict_loading_is_strict_and_changes_nothing(name, tmp_path):
    make_file, _ = CROSSFORMER_FILES[name]
    content = make_file(dict(small().state_dict()))
    before = copy.copy(content)
    with pytest.raises(RuntimeError, match='Unexpected key'):
        small().load_state_dict(content, strict=True)
    assert content.keys() == before.keys()
    torch.save(content, tmp_path / 'authors.pth')
    with pytest.raises(RuntimeError, match='unexpected key'):
        load_checkpoint(small(), str(tmp_path / 'authors.pth'), strict=True)


def test_pretrained_weights_come_last_and_configs_stay(tmp_path):
    weights = dict(small().state_dict())
    file = str(tmp_path / 'weights.pth')
    torch.save(weights, file)
    init_cfg = [
        dict(type='Pretrained', checkpoint=file),
        dict(type='Constant', layer='Linear', val=0.0),
    ]
    model = CrossFormer(SMALL, init_cfg=copy.deepcopy(init_cfg))
    model.init_weights()
    assert_loaded(model, weights)
    assert model.init_cfg == init_cfg
    assert model.is_pretrained


def test_initializing_twice_loads_once(tmp_path):
    file = str(tmp_path / 'weights.pth')
    torch.save(dict(small().state_dict()), file)
    model = CrossFormer(SMALL, init_cfg=dict(type='Pretrained', checkpoint=file))
    model.init_weights()
    with torch.no_grad():
        model.patch_embed.norm.bias.fill_(7.0)
    model.init_weights()
    assert (model.patch_embed.norm.bias == 7.0).all()
