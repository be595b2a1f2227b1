"""Segmentors on CrossFormer: sizes and recipes are its authors', and this repository's tools train and test them."""

import importlib.metadata
import importlib.util
import pickle
import shutil

import pytest
import torch
from helpers.configs import CONFIGS
from helpers.tiny_ade import write_ade
from helpers.tiny_detector import new_name, tool
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from torch.utils.flop_counter import FlopCounterMode

from mmdet_setdet.checkpoints.families import candidates
from mmdet_setdet.engine.evaluation import select_metrics
from mmdet_setdet.errors import InputError
from mmdet_setdet.models.backbones import CrossFormer
from mmdet_setdet.models.backbones.crossformer import ARCHS

needs_mmseg = pytest.mark.skipif(importlib.util.find_spec('mmseg') is None, reason='no mmseg')
# Millions of parameters in the tables of arXiv 2108.00154; the authors name none for the others.
SIZES = {
    'semantic_fpn_crossformer_s_ade20k': 34.3,
    'semantic_fpn_crossformer_b_ade20k': 55.6,
    'semantic_fpn_crossformer_l_ade20k': 95.4,
    'semantic_fpn_crossformerpp_s_ade20k': None,
    'semantic_fpn_crossformerpp_b_ade20k': None,
    'upernet_crossformer_s_ade20k': 62.3,
    'upernet_crossformer_b_ade20k': 83.6,
    'upernet_crossformer_l_ade20k': 125.5,
    'upernet_crossformerpp_s_ade20k': None,
    'upernet_crossformerpp_b_ade20k': None,
}
# A tenth of the width, and images of 64 pixels where the config has 512 and more.
SMALL = """
_base_ = '{configs}/{name}.py'
model = dict(backbone=dict(arch=dict(_delete_=True, embed_dims=32, depths=(1, 1, 1, 1)), init_cfg=None), **{changes})
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
"""
CHANNELS = [32, 64, 128, 256]
SMALL_UPERNET = dict(
    decode_head=dict(in_channels=CHANNELS, channels=16),
    auxiliary_head=dict(in_channels=128, channels=16),
)
NARROW = dict(
    embed_dims=32, depths=(1, 1, 4, 1)
)  # deep enough for an amplitude cooling layer in ++
OPTIONS = [
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'train_dataloader.dataset.pipeline.2.scale=(128,64)',
    'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
    'val_dataloader.dataset.pipeline.1.scale=(128,64)',
    'test_dataloader.dataset.pipeline.1.scale=(128,64)',
    'model.data_preprocessor.size=(64,64)',
    'env_cfg.mp_cfg.opencv_num_threads=1',
]
TTA_OPTIONS = [
    f'tta_pipeline.1.transforms.0.{i}.scale=({64 + 32 * i},{32 + 16 * i})' for i in range(6)
]


def test_no_config_is_forgotten():
    names = {path.stem for path in CONFIGS.glob('*_ade20k.py')}
    assert names == set(SIZES)


def weight_decays(model, optim_wrapper):
    """{id of a parameter: its weight decay}."""
    decays = {}
    for group in build_optim_wrapper(model, optim_wrapper).param_groups:
        for parameter in group['params']:
            decays[id(parameter)] = group['weight_decay']
    return decays


@needs_mmseg
@pytest.mark.parametrize('name', SIZES)
def test_builds_with_the_published_size_and_recipe(name):
    from mmseg.registry import MODELS, TRANSFORMS

    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert cfg.default_scope == 'mmseg'
    init_default_scope('mmseg')
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert type(model.backbone) is CrossFormer
    assert model.num_classes == 150
    if SIZES[name]:
        count = sum(p.numel() for p in model.parameters())
        assert round(count / 1e6, 1) == SIZES[name]
    is_fpn = name.startswith('semantic_fpn')
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW'
    assert optimizer.lr == (1e-4 if is_fpn else 6e-5)
    assert optimizer.weight_decay == (1e-4 if is_fpn else 0.01)
    rate = cfg.param_scheduler[-1]
    assert rate.type == 'PolyLR'
    assert rate.power == (0.9 if is_fpn else 1.0)
    assert rate.eta_min == 0.0
    assert rate.end == (80000 if is_fpn else 160000)
    assert cfg.train_cfg.max_iters == rate.end
    assert cfg.train_dataloader.batch_size == (4 if is_fpn else 2)
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert all(TRANSFORMS.get(step.type) for step in cfg.test_dataloader.dataset.pipeline)
    # As in the authors' configs: everything decays in Semantic FPN, everything but norms, by name, in UPerNet.
    decays = weight_decays(model, cfg.optim_wrapper)
    for key, parameter in model.named_parameters():
        if is_fpn:
            expected = 1e-4
        else:
            expected = 0.0 if 'norm' in key else 0.01
        assert decays[id(parameter)] == expected, key


@needs_mmseg
@pytest.mark.parametrize('name', SIZES)
def test_groups_are_those_that_the_published_figures_belong_to(name):
    backbone = Config.fromfile(CONFIGS / f'{name}.py').model.backbone
    group_sizes = backbone.get('group_sizes', (7, 7, 7, 7))
    intervals = backbone.get('intervals', (8, 4, 2, 1))
    is_wide = name.startswith('semantic_fpn') and 'crossformerpp_b' not in name
    if is_wide:
        assert group_sizes == (14, 14, 7, 7)
        assert intervals == (16, 8, 2, 1)
    else:
        assert group_sizes == (7, 7, 7, 7)
        assert intervals == (8, 4, 2, 1)
    assert backbone.attention == 'short-long-map'
    if 'plus' in backbone.arch:
        assert 'group_sizes' in backbone, 'else CrossFormer++ has its own'


@needs_mmseg
def test_number_of_operations_is_the_published_one():
    """In billions at 1024 x 1024. Ours does not pad, which saves 1.6 %; other groups would change 4 to 10 %."""
    from mmseg.registry import MODELS

    cfg = Config.fromfile(CONFIGS / 'semantic_fpn_crossformer_s_ade20k.py').model
    init_default_scope('mmseg')
    cfg.backbone.update(
        init_cfg=None, frozen_stages=0
    )  # unfrozen, the first layer takes operations to save time
    with torch.device('meta'), FlopCounterMode(display=False) as counter:
        model = MODELS.build(cfg).eval()
        model(torch.empty(1, 3, 1024, 1024))
    operations = counter.get_total_flops() / 2e9
    assert 0.98 < operations / 209.8 < 1.0


@needs_mmseg
@pytest.mark.parametrize('name', SIZES)
def test_trains_a_step_and_predicts(name):
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    cfg = Config.fromfile(CONFIGS / f'{name}.py').model
    init_default_scope('mmseg')
    cfg.backbone.update(arch={**ARCHS[cfg.backbone.arch], **NARROW}, init_cfg=None)
    if 'neck' in cfg:
        cfg.neck.in_channels = CHANNELS
    else:
        cfg.decode_head.update(in_channels=CHANNELS, channels=16)
        cfg.auxiliary_head.update(in_channels=CHANNELS[2], channels=16)
    model = revert_sync_batchnorm(MODELS.build(cfg)).train()
    model.init_weights()
    images = torch.randn(2, 3, 64, 96)
    samples = []
    for _ in images:
        labels = PixelData(data=torch.randint(150, (1, 64, 96)))
        sizes = dict(img_shape=(64, 96), ori_shape=(48, 72))
        samples.append(SegDataSample(gt_sem_seg=labels, metainfo=sizes))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    totals = []
    for _ in range(2):
        total, _ = model.parse_losses(model.loss(images, samples))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert totals[0] != totals[1]
    with torch.no_grad():
        results = model.eval().predict(images, samples)
    for result in results:
        assert result.pred_sem_seg.shape == (48, 72)
        assert result.seg_logits.data.isfinite().all()


@pytest.fixture(scope='module')
def ade(tmp_path_factory):
    return write_ade(tmp_path_factory.mktemp('ade') / 'ADEChallengeData2016')


def write_config(folder, name, **changes):
    config = folder / 'small.py'
    config.write_text(SMALL.format(configs=CONFIGS, name=name, changes=changes))
    return str(config)


@pytest.fixture(scope='module')
def trained(tmp_path_factory, ade):
    """(config, its checkpoint after two iterations)."""
    folder = tmp_path_factory.mktemp('segmentation')
    patch = pytest.MonkeyPatch()
    patch.setenv('SETDET_ADE', str(ade))
    config = write_config(
        folder, 'semantic_fpn_crossformer_s_ade20k', neck=dict(in_channels=CHANNELS)
    )
    tool('train').main(
        [
            config,
            '--work-dir',
            str(folder / 'work'),
            '--cfg-options',
            *OPTIONS,
            f'experiment_name={new_name()}',
        ]
    )
    yield config, str(folder / 'work' / 'iter_2.pth')
    patch.undo()


@needs_mmseg
def test_semantic_fpn_trains_and_tests(trained, tmp_path):
    metrics = tool('test').main(
        [
            *trained,
            '--eval',
            'mIoU',
            '--out',
            str(tmp_path / 'out.pkl'),
            '--show-dir',
            str(tmp_path / 'pictures'),
            '--work-dir',
            str(tmp_path),
            '--cfg-options',
            *OPTIONS,
            f'experiment_name={new_name()}',
        ]
    )
    assert 0 <= metrics['mIoU'] <= 100
    assert 'mAcc' in metrics
    predictions = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert len(predictions) == 2
    for prediction in predictions:
        assert prediction.keys() == {'img_path', 'pred_sem_seg'}
    label_map = predictions[0]['pred_sem_seg']
    assert label_map.shape == (48, 64)
    assert label_map.max() < 150
    pictures = list((tmp_path / 'pictures').rglob('*.png'))
    assert len(pictures) == 2


@needs_mmseg
def test_several_scales(trained, tmp_path):
    metrics = tool('test').main(
        [
            *trained,
            '--eval',
            'mIoU',
            '--tta',
            '--work-dir',
            str(tmp_path),
            '--cfg-options',
            *OPTIONS,
            *TTA_OPTIONS,
            f'experiment_name={new_name()}',
        ]
    )
    assert 0 <= metrics['mIoU'] <= 100


@needs_mmseg
def test_upernet_trains_a_step(tmp_path, ade, monkeypatch):
    monkeypatch.setenv('SETDET_ADE', str(ade))
    config = write_config(tmp_path, 'upernet_crossformer_s_ade20k', **SMALL_UPERNET)
    model = tool('train').main(
        [
            config,
            '--work-dir',
            str(tmp_path),
            '--cfg-options',
            *OPTIONS,
            f'experiment_name={new_name()}',
        ]
    )
    assert all(p.isfinite().all() for p in model.parameters())
    assert (tmp_path / 'iter_2.pth').exists()


def conv(name, out, channels, size=1):
    """Names and shapes of a ConvModule's weights with a norm, as mmcv 1 writes them; counters among them."""
    return {
        f'{name}.conv.weight': (out, channels, size, size),
        f'{name}.bn.weight': (out,),
        f'{name}.bn.bias': (out,),
        f'{name}.bn.running_mean': (out,),
        f'{name}.bn.running_var': (out,),
        f'{name}.bn.num_batches_tracked': (),
    }


def classifier(head, channels):
    return {
        f'{head}.conv_seg.weight': (150, channels, 1, 1),
        f'{head}.conv_seg.bias': (150,),
    }


def fpn_shapes():
    """Names and shapes of the weights in neck and head of mmseg 0.29's Semantic FPN, on maps of CHANNELS."""
    shapes = classifier('decode_head', 128)
    for level, channels in enumerate(CHANNELS):
        shapes[f'neck.lateral_convs.{level}.conv.weight'] = (256, channels, 1, 1)
        shapes[f'neck.lateral_convs.{level}.conv.bias'] = (256,)
        shapes[f'neck.fpn_convs.{level}.conv.weight'] = (256, 256, 3, 3)
        shapes[f'neck.fpn_convs.{level}.conv.bias'] = (256,)
        for number in range(max(level, 1)):
            channels_in = 128 if number else 256
            # An upsampling, which has no weights, follows each convolution: so their numbers are even.
            shapes |= conv(f'decode_head.scale_heads.{level}.{2 * number}', 128, channels_in, 3)
    return shapes


def upernet_shapes(width=16):
    """Names and shapes of the weights in the heads of mmseg 0.29's UPerNet, ``width`` wide, on maps of CHANNELS."""
    shapes = classifier('decode_head', width) | classifier('auxiliary_head', width)
    shapes |= conv('auxiliary_head.convs.0', width, CHANNELS[2], 3)
    shapes |= conv('decode_head.bottleneck', width, CHANNELS[3] + 4 * width, 3)
    shapes |= conv('decode_head.fpn_bottleneck', width, 4 * width, 3)
    for number in range(4):
        shapes |= conv(f'decode_head.psp_modules.{number}.1', width, CHANNELS[3])
    for number in range(3):
        shapes |= conv(f'decode_head.lateral_convs.{number}', width, CHANNELS[number])
        shapes |= conv(f'decode_head.fpn_convs.{number}', width, width, 3)
    return shapes


def random_weights(shapes):
    """A tensor for each shape, at a scale that keeps the size of activations; counters of batches are 7."""
    weights = {}
    for key, shape in shapes.items():
        if shape:
            fan_in = torch.Size(shape[1:]).numel() or 1
            weights[key] = torch.randn(shape).abs() * fan_in**-0.5
        else:
            weights[key] = torch.tensor(7)
    return weights


@needs_mmseg
@pytest.mark.parametrize(
    ('name', 'head_shapes', 'changes'),
    [
        ('semantic_fpn_crossformer_s_ade20k', fpn_shapes, dict(neck=dict(in_channels=CHANNELS))),
        ('upernet_crossformerpp_s_ade20k', upernet_shapes, SMALL_UPERNET),
    ],
)
def test_converts_the_authors_checkpoints(name, head_shapes, changes, tmp_path, capsys):
    from mmseg.apis import init_model
    from mmseg.registry import MODELS

    config = write_config(tmp_path, name, **changes)
    cfg = Config.fromfile(config)
    init_default_scope('mmseg')
    expected = MODELS.build(cfg.model).eval()
    backbone = expected.backbone.state_dict()
    shapes = {f'backbone.{key}': tuple(value.shape) for key, value in backbone.items()}
    weights = random_weights(shapes | head_shapes())
    checkpoint = dict(
        meta=dict(mmseg_version='0.29.1', CLASSES=('wall',)), state_dict=weights, optimizer={}
    )
    source, target = str(tmp_path / 'authors.pth'), str(tmp_path / 'ours.pth')
    torch.save(checkpoint, source)
    assert set(candidates('crossformer', weights)) == set(SIZES)
    tool('convert_checkpoint').main([source, target, '--config', config])
    printed = capsys.readouterr().out
    assert '(crossformer, guessed)' in printed
    assert '150 classes' in printed
    model = init_model(config, target, device='cpu')
    assert 'do not match' not in capsys.readouterr().out
    assert not expected.load_state_dict(weights, strict=True).missing_keys
    counters = {key for key in weights if key.endswith('num_batches_tracked')}
    loaded = torch.load(target, weights_only=True)['state_dict']
    assert loaded.keys() == weights.keys() - counters
    assert loaded.keys() == model.state_dict().keys() - counters
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        logits = model(image)
        expected_logits = expected(image)
    assert torch.equal(logits, expected_logits)
    assert logits.shape[1] == 150
    assert logits.std() > 1e-3, 'logits that are all equal would prove nothing'


@needs_mmseg
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ['model.decode_head.dropout=0.2'],
            r'model.decode_head \(FPNHead\) takes no "dropout".*dropout_ratio',
        ),
        (
            ['model.backbone.group_size=14'],
            r'model.backbone \(CrossFormer\) takes no "group_size".*group_sizes',
        ),
    ],
)
def test_options_know_mmseg(trained, options, message):
    with pytest.raises(InputError, match=message):
        tool('test').main([*trained, '--cfg-options', *options])


@needs_mmseg
def test_missing_files_are_named(trained, ade, tmp_path, monkeypatch):
    arguments = [*trained, '--work-dir', str(tmp_path), '--cfg-options', *OPTIONS]
    monkeypatch.setenv('SETDET_ADE', str(tmp_path / 'nowhere'))
    with pytest.raises(
        InputError, match=r'nowhere/images/validation: no such folder of images.*SETDET_ADE'
    ):
        tool('test').main([*arguments, f'experiment_name={new_name()}'])
    copied = shutil.copytree(ade, tmp_path / 'ade')
    (copied / 'annotations/validation/ADE_val_00000002.png').unlink()
    monkeypatch.setenv('SETDET_ADE', str(copied))
    with pytest.raises(
        InputError, match='ADE_val_00000002.png: no such label map file; check data_root'
    ):
        tool('test').main([*arguments, f'experiment_name={new_name()}'])


def test_detections_cannot_be_asked_of_a_segmentor():
    with pytest.raises(
        InputError, match='--eval bbox: c.py evaluates with IoUMetric, which can do: mIoU'
    ):
        select_metrics(dict(type='IoUMetric', iou_metrics=['mIoU']), ['bbox'], {}, 'c.py')


def test_without_mmseg_the_command_to_get_it_is_named(monkeypatch):
    version = importlib.metadata.version

    def without_mmseg(name):
        if 'mmsegmentation' in name:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, 'version', without_mmseg)
    config = str(CONFIGS / 'upernet_crossformer_s_ade20k.py')
    with pytest.raises(
        InputError,
        match=r'upernet_crossformer_s_ade20k.py: segmentation runs on mmseg.*there is no '
        r"mmseg: `pip install --no-deps '(onedl-)?mmsegmentation==1\.\d\.2'`",
    ):
        tool('train').main([config])
