"""``--cfg-options`` of wrong kinds, counts and names."""

import random

import pytest
from helpers.tiny_detector import write_annotations
from mmengine.config import Config

VALUES = ('abc', '-1', '0', '1.5', '3', 'None', 'True', '[]', '[1,2]', '(1,)', '', '1e99', 'nan')


def leaves(node, path: str = ''):
    """Iterate over the keys of all values of a config, such as ``model.backbone.depth``."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        name = f'{path}{key}'
        yield name
        if isinstance(value, (dict, list)):
            yield from leaves(value, f'{name}.')


@pytest.fixture
def train(tools, tiny_data):
    """A function that trains with options."""
    config, root, coco = tiny_data
    write_annotations(root, coco)
    return lambda *options: tools.run('train', config, options=options)


@pytest.mark.parametrize('seed', range(30))
def test_any_value_of_another_kind(train, tiny_data, expect_good, seed):
    generator = random.Random(seed)
    cfg = Config.fromfile(tiny_data[0])
    key = generator.choice(list(leaves(cfg._cfg_dict)))
    expect_good(train(f'{key}={generator.choice(VALUES)}'))


@pytest.mark.parametrize('value', VALUES)
@pytest.mark.parametrize(
    'key',
    [
        'train_cfg.max_iters',
        'train_dataloader.batch_size',
        'optim_wrapper.optimizer.lr',
        'model.num_queries',
    ],
)
def test_what_users_change(train, expect_good, key, value):
    expect_good(train(f'{key}={value}'))


@pytest.mark.parametrize(
    'option',
    [
        'model.neck.in_channels=[32,64]',
        'model.neck.in_channels=[64]',
        'model.backbone.out_indices=[0,1,2,3]',
        'model.backbone.out_indices=[7]',
        'model.backbone.strides=[1,2]',
        'model.data_preprocessor.mean=[1,2]',
        'model.data_preprocessor.std=[1]',
        'model.bbox_head.num_classes=0',
        'model.bbox_head.num_classes=1000',
        'model.decoder.num_layers=0',
        'model.encoder.num_layers=-1',
        'model.decoder.layer_cfg.self_attn_cfg.num_heads=7',
        'model.positional_encoding.num_feats=17',
        'model.test_cfg.max_per_img=100000',
        'model.denoising.num_groups=-1',
        'model.backbone.init_cfg.checkpoint=nothing.pth',
        'train_dataloader.dataset.pipeline.2.scale=[64]',
        'train_dataloader.dataset.pipeline.2.scale=[0,0]',
        'train_dataloader.dataset.pipeline.2.type=Rezise',
        'train_dataloader.dataset.type=CocoDatset',
        'train_dataloader.dataset.data_prefix.img=nowhere/',
        'train_dataloader.dataset.metainfo.classes=circle',
        'train_dataloader.dataset.metainfo.classes=[]',
        'train_dataloader.dataset.indices=0',
        'train_dataloader.dataset.indices=[99]',
        'train_dataloader.sampler.type=Nothing',
        'model.type=mmdet_setdet.Nothing',
        'model.backbone.type=ResNt',
        'model.bbox_head.loss_cls.type=L1Loss',
        'model.train_cfg.assigner.type=MaxIoUAssigner',
        'optim_wrapper.optimizer.type=Sgd',
        'optim_wrapper.type=Wrapper',
        'param_scheduler.0.type=Step',
        'val_evaluator.metric=mAP',
        'val_evaluator.ann_file=nowhere.json',
        'val_evaluator.type=Coco',
        'default_scope=nothing',
        'custom_imports.imports=[nothing_at_all]',
        'randomness.seed=abc',
        'env_cfg.mp_cfg.mp_start_method=xyz',
        'log_level=LOUD',
        'load_from=nothing.pth',
        'resume=True',
        'work_dir=/proc/nothing',
        'visualizer.type=None',
        'default_hooks.checkpoint.interval=abc',
        'default_hooks.logger.type=Hook',
        'runner_type=Running',
    ],
)
def test_wrong_counts_and_names(train, expect_good, option):
    expect_good(train(option))


@pytest.mark.parametrize(
    'option', ['', '=', 'a', '=3', 'model', '.=1', 'model..depth=1', 'model.=1', '[1]=2']
)
def test_no_options(train, expect_good, option):
    assert expect_good(train(option)).kind == 'refused'
