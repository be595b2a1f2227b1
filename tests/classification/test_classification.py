"""Image classification: configs, data, metric, and the tools from training to pictures."""

import copy
import functools
import math
import pickle
import shutil

import numpy as np
import pytest
import torch
from helpers.configs import CONFIGS
from helpers.tiny_detector import new_name, tool
from mmdet.registry import DATASETS, METRICS, MODELS, VISUALIZERS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.structures import BaseDataElement
from PIL import Image
from torch.nn.functional import one_hot

from mmdet_setdet.checks import check_dataset
from mmdet_setdet.classification import write_shape_folders
from mmdet_setdet.datasets.generators import CLASSES
from mmdet_setdet.errors import InputError
from mmdet_setdet.models.backbones.crossformer import ARCHS

# Config: (millions of parameters in the papers, drop path)
PUBLISHED = {
    'crossformer_t_imagenet': (27.8, 0.1),
    'crossformer_s_imagenet': (30.7, 0.2),
    'crossformer_b_imagenet': (52.0, 0.3),
    'crossformer_l_imagenet': (92.0, 0.5),
    'crossformerpp_s_imagenet': (23.3, 0.2),
    'crossformerpp_b_imagenet': (52.0, 0.3),
    'crossformerpp_l_imagenet': (92.0, 0.5),
    'crossformerpp_h_imagenet': (96.0, 0.5),
}
SIDE = 64  # pixels


@pytest.fixture(autouse=True)
def _numpy_seed():
    """Augmentations draw from numpy."""
    np.random.seed(0)


@pytest.fixture(scope='module')
def miniature(tmp_path_factory):
    """A folder in ImageNet's layout: 6 classes of 4 + 2 generated images."""
    folder = tmp_path_factory.mktemp('imagenet')
    write_shape_folders(folder, dict(train=4, val=2), image_size=(40, 72))
    return folder


@pytest.fixture(scope='module')
def load(miniature):
    """Reads a config, by name, with the miniature as its data."""

    @functools.cache
    def read(name):
        return Config.fromfile(CONFIGS / f'{name}.py')

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('SETDET_IMAGENET', str(miniature))
        yield lambda name: copy.deepcopy(read(name))


@pytest.fixture(scope='module')
def load_small(load):
    """The same, made small: a narrow, shallow arch of the same kind, 6 classes, small images; with changes merged."""

    def read(name, **changes):
        cfg = load(name)
        arch = ARCHS[cfg.model.backbone.arch]
        cfg.model.backbone.arch = {**arch, 'embed_dims': 32, 'depths': (1, 1, 4, 1)}
        small = {
            'model.in_channels': 256,
            'model.num_classes': 6,
            'train_dataloader.batch_size': 8,
            'train_dataloader.dataset.pipeline.1.size': SIDE,
        }
        for loader in ('train', 'val', 'test'):
            small.update(
                {
                    f'{loader}_dataloader.num_workers': 0,
                    f'{loader}_dataloader.persistent_workers': False,
                }
            )
        for loader in ('val', 'test'):
            small.update(
                {
                    f'{loader}_dataloader.dataset.pipeline.1.scale': (SIDE, 9999),
                    f'{loader}_dataloader.dataset.pipeline.2.crop_size': SIDE,
                }
            )
        cfg.merge_from_dict({**small, **changes})
        return cfg

    return read


def batch_of(dataset, indices):
    return pseudo_collate([dataset[index] for index in indices])


@pytest.mark.parametrize('name', PUBLISHED)
def test_config_has_the_published_size_and_recipe(load, name):
    cfg = load(name)
    (millions, drop_path) = PUBLISHED[name]
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert type(model).__name__ == 'ImageClassifier'
    assert type(model.backbone).__name__ == 'CrossFormer'
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert model.head.out_features == 1000
    assert model.label_smoothing == 0.1
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert cfg.default_scope == 'mmdet'
    assert cfg.runner_type == 'CheckingRunner'
    assert cfg.train_cfg.max_epochs == 300
    assert cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.train_dataloader.batch_size * 8 == 1024
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW'
    assert optimizer.lr == 5e-4 * 1024 / 512
    assert optimizer.weight_decay == 0.05
    assert cfg.optim_wrapper.clip_grad.max_norm == 5
    erase, mix = model.data_preprocessor.augments
    assert erase.prob == 0.25
    assert (mix.mixup, mix.cutmix) == (0.8, 1)
    assert (mix.prob, mix.cutmix_prob) == (1, 0.5)


@pytest.mark.parametrize('name', PUBLISHED)
def test_trains_a_step_and_tests(load_small, name):
    cfg = load_small(name)
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = DATASETS.build(cfg.train_dataloader.dataset)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    parts = model.backbone.patch_embed.projs[0].weight, model.head.weight
    before = [part.clone() for part in parts]
    log = model.train().train_step(batch_of(data, (0, 5, 10, 15)), wrapper)
    assert 1 < log['loss'] < 3
    assert not any(map(torch.equal, parts, before))
    data = DATASETS.build(cfg.test_dataloader.dataset)
    samples = model.eval().test_step(batch_of(data, (0, 11)))
    assert [sample.gt_label for sample in samples] == [0, 5]
    for sample in samples:
        assert sample.pred_scores.shape == (6,)
        assert sample.pred_scores.sum().item() == pytest.approx(1)
        assert sample.pred_label == sample.pred_scores.argmax()
        assert sample.img_shape == (SIDE, SIDE)


@pytest.mark.parametrize('name', ['crossformer_s_imagenet', 'crossformerpp_s_imagenet'])
def test_trains_a_step_in_mixed_precision(load_small, name):
    cfg = load_small(name)
    cfg.model.data_preprocessor.augments = []
    cfg.model.backbone.drop_path_rate = 0.0
    model = MODELS.build(cfg.model).train()
    model.init_weights()
    data = DATASETS.build(cfg.test_dataloader.dataset)
    batch = model.data_preprocessor(batch_of(data, (0, 5, 10, 11)), training=True)
    losses = []
    gradients = []
    for lower in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=lower):
            loss = model(**batch, mode='loss')['loss']
        losses.append(loss.item())
        by_parameter = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(torch.cat([gradient.flatten() for gradient in by_parameter]))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    full, lower = gradients
    assert lower.dtype == torch.float32
    assert torch.cosine_similarity(full, lower, 0) > 0.99


def test_quick_start_learns_by_heart(load):
    cfg = load('quickstart/crossformer_miniature')
    model = MODELS.build(cfg.model).train()
    model.init_weights()
    data = DATASETS.build(cfg.train_dataloader.dataset)
    batch = batch_of(data, range(0, 24, 2))
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    losses = [model.train_step(batch, wrapper)['loss'].item() for _ in range(25)]
    assert min(losses[-5:]) < 0.6 * losses[0]
    validation = DATASETS.build(cfg.val_dataloader.dataset)
    path = validation.get_data_info(0)['img_path']
    assert path.startswith(f'{cfg.data_root}/train')


def test_learning_rate_is_the_authors(load):
    cfg = load('crossformer_t_imagenet')
    length = 5
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], 1e-3)
    schedulers = []
    for scheduler in copy.deepcopy(cfg.param_scheduler):
        assert scheduler.pop('convert_to_iter_based')
        kind = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        schedulers.append(kind.build_iter_from_epoch(optimizer, epoch_length=length, **scheduler))
    total = 300 * length
    warm_up = 20 * length
    for step in range(total):
        if step < warm_up:
            expected = 1e-6 + step / warm_up * (1e-3 - 1e-6)
        else:
            expected = 1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + math.cos(math.pi * step / total))
        # In the warm-up the cosine takes off up to 1.1 % that the authors' scheduler does not.
        assert optimizer.param_groups[0]['lr'] == pytest.approx(
            expected, rel=0.02 if step < warm_up else 1e-3
        )
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.parametrize('position', ['dynamic', 'relative', 'absolute'])
def test_what_decays(load_small, position):
    cfg = load_small('crossformerpp_s_imagenet', **{'model.backbone.position': position})
    model = MODELS.build(cfg.model)
    decay = {
        id(p): group['weight_decay']
        for group in build_optim_wrapper(model, cfg.optim_wrapper).param_groups
        for p in group['params']
    }
    for name, parameter in model.named_parameters():
        table = 'absolute_pos_embed' in name or 'relative_position_bias_table' in name
        assert decay[id(parameter)] == (0 if parameter.dim() == 1 or table else 0.05), name


def test_preprocessor_normalises_alike_one_by_one_and_together():
    mean = [10.0, 20.0, 30.0]
    std = [1.0, 2.0, 4.0]
    preprocess = MODELS.build(dict(type='ClassPreprocessor', mean=mean, std=std, bgr_to_rgb=True))
    images = [torch.randint(0, 256, (3, 6, 5), dtype=torch.uint8) for _ in range(2)]
    together = preprocess(dict(inputs=images, data_samples=None), training=True)
    assert 'targets' not in together
    larger = torch.zeros(3, 9, 5, dtype=torch.uint8)
    apart = preprocess(dict(inputs=[*images, larger], data_samples=None))['inputs']
    assert torch.equal(together['inputs'], apart[:2, :, :6])
    rgb = images[0].flip(0).float()
    expected = (rgb - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert torch.equal(together['inputs'][0], expected)


def test_loss_is_smoothed_cross_entropy():
    backbone = dict(type='ResNet', depth=18, base_channels=8, out_indices=(3,))
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            in_channels=64,
            num_classes=5,
            label_smoothing=0.1,
            backbone=backbone,
        )
    )
    model.eval()
    images = torch.randn(3, 3, 32, 32)
    labels = torch.tensor([0, 4, 2])
    samples = [BaseDataElement(gt_label=label) for label in labels.tolist()]
    smooth = one_hot(labels, 5) * 0.9 + 0.1 / 5
    expected = -(smooth * model(images).log_softmax(1)).sum(1).mean()
    assert torch.allclose(model(images, samples, mode='loss')['loss'], expected)
    targets = one_hot(labels, 5).float()
    assert torch.allclose(model(images, targets=targets, mode='loss')['loss'], expected)
    assert len(model(images, mode='predict')) == 3
    with pytest.raises(ValueError, match="mode='features': must be"):
        model(images, mode='features')


def sample(scores, label):
    return dict(pred_scores=torch.tensor(scores), gt_label=label)


def test_accuracy():
    metric = METRICS.build(dict(type='Accuracy', topk=(1, 2, 5)))
    metric.process(None, [sample([0.5, 0.3, 0.2], 0), sample([0.5, 0.3, 0.2], 1)])
    metric.process(None, [sample([0.5, 0.3, 0.2], 2)])
    assert metric.evaluate(3) == {
        'accuracy/top1': pytest.approx(100 / 3),
        'accuracy/top2': pytest.approx(200 / 3),
        'accuracy/top5': 100,
    }


def test_equal_and_undefined_scores_are_never_right():
    metric = METRICS.build(dict(type='Accuracy', topk=(1,)))
    nan = float('nan')
    metric.process(
        None,
        [
            sample([0.25, 0.25, 0.25, 0.25], 0),
            sample([nan, nan, nan, nan], 0),
            sample([1.0, nan, 0.0, 0.0], 0),
        ],
    )
    assert metric.evaluate(3) == {'accuracy/top1': 0}


def test_classes_are_folders_in_order(miniature):
    build = dict(type='ImageFolder', data_root=str(miniature), data_prefix=dict(img_path='train'))
    data = DATASETS.build(build)
    assert data.metainfo['classes'] == tuple(sorted(CLASSES))
    assert len(data) == 24
    info = data.get_data_info(4)
    assert info['gt_label'] == 1
    assert info['img_path'] == f'{miniature}/train/cross/cross_00000.JPEG'
    chosen = DATASETS.build(dict(metainfo=dict(classes=('star', 'ring')), **build))
    assert len(chosen) == 8
    assert 'star' in chosen.get_data_info(0)['img_path']
    assert [chosen.get_data_info(i)['gt_label'] for i in (3, 4)] == [0, 1]


def test_wrong_folders_are_named(miniature, tmp_path):
    def build(**kwargs):
        return DATASETS.build({'type': 'ImageFolder', 'data_root': str(tmp_path), **kwargs})

    with pytest.raises(InputError, match='nowhere: no such folder of images; .*SETDET_IMAGENET'):
        build(data_prefix=dict(img_path='nowhere'))
    (tmp_path / 'train').mkdir()
    with pytest.raises(
        InputError,
        match='train: holds no folders of classes; its images must be sorted into .*CLASS',
    ):
        build(data_prefix=dict(img_path='train'))
    (tmp_path / 'train' / 'cat').mkdir()
    (tmp_path / 'train' / 'cat' / 'notes.txt').write_text('not an image')
    with pytest.raises(InputError, match='train/cat: this class has no image'):
        build(data_prefix=dict(img_path='train'))
    with pytest.raises(
        InputError, match='no folder for 1 of the 2 classes of the config: dog. It has: cat'
    ):
        build(data_prefix=dict(img_path='train'), metainfo=dict(classes=('cat', 'dog')))


def test_a_broken_image_is_named(load, miniature, tmp_path):
    whole = (miniature / 'train/ring/ring_00001.JPEG').read_bytes()
    data = load('crossformer_t_imagenet').train_dataloader.dataset
    for name, content, message in (
        ('cut', whole[: len(whole) // 2], r'cut\.JPEG: '),
        ('text', b'nothing', r'text\.JPEG: not a readable image'),
    ):
        folder = tmp_path / name / 'train' / 'class'
        folder.mkdir(parents=True)
        (folder / f'{name}.JPEG').write_bytes(content)
        dataset = DATASETS.build({**data, 'data_root': str(tmp_path / name)})
        check_dataset(dataset)
        with pytest.raises(InputError, match=message):
            dataset[0]


def test_test_images_are_those_of_pillow(load, tmp_path):
    random = np.random.default_rng(0)
    path = str(tmp_path / 'image.png')
    image = Image.fromarray(random.integers(0, 256, (500, 333, 3), dtype=np.uint8))
    image.save(path)
    inputs = Compose(load('crossformer_t_imagenet').test_pipeline)(dict(img_path=path, gt_label=0))[
        'inputs'
    ]
    resized = image.resize((256, 256 * 500 // 333), Image.Resampling.BICUBIC)
    expected = np.asarray(resized)[80:304, 16:240]
    assert np.array_equal(inputs.numpy()[::-1].transpose(1, 2, 0), expected)


def test_pictures(tmp_path):
    visualizer = VISUALIZERS.build(dict(type='LabelVisualizer', name=new_name()))
    visualizer.dataset_meta = dict(classes=('cat', 'dog'))
    file = tmp_path / 'picture.png'
    sample = BaseDataElement(gt_label=0, pred_label=1, pred_scores=torch.tensor([0.1, 0.9]))
    visualizer.add_datasample(
        'picture', np.full((50, 100, 3), 128, np.uint8), sample, out_file=str(file)
    )
    picture = np.asarray(Image.open(file))
    assert picture.shape == (224, 448, 3)
    assert (picture[:40, :80] > 200).any()
    assert (picture[100:] == 128).all()


def arguments(cfg, folder):
    """Of the tools, to run ``cfg`` within ``folder``."""
    cfg.experiment_name = new_name()
    cfg.dump(folder / 'small.py')
    return [str(folder / 'small.py'), '--work-dir', str(folder / 'work')]


def test_tools(load_small, tmp_path):
    cfg = load_small('crossformer_s_imagenet', **{'train_cfg.max_epochs': 1, 'randomness.seed': 3})
    work = tmp_path / 'work'
    cfg.custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.2, gamma=1)]
    tool('train').main(arguments(cfg, tmp_path))
    assert (work / 'best_accuracy_top1_epoch_1.pth').is_file()
    cfg.train_cfg.max_epochs = 2
    model = tool('train').main([*arguments(cfg, tmp_path), '--resume'])
    assert type(model).__name__ == 'ImageClassifier'
    assert (work / 'epoch_2.pth').is_file()
    saved = torch.load(work / 'epoch_2.pth', weights_only=False)
    averaged = saved['state_dict']['head.weight']
    last = saved['ema_state_dict']['module.head.weight']
    assert torch.equal(last, model.head.weight)
    assert not torch.equal(averaged, last)
    config, *rest = arguments(cfg, tmp_path)
    metrics = tool('test').main(
        [
            config,
            str(work / 'epoch_2.pth'),
            '--eval',
            'accuracy',
            '--out',
            str(tmp_path / 'out.pkl'),
            '--show-dir',
            str(tmp_path / 'pictures'),
            *rest,
        ]
    )
    assert 0 <= metrics['accuracy/top1'] <= metrics['accuracy/top5'] <= 100
    results = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert len(results) == 12
    assert results[0]['pred_scores'].shape == (6,)
    assert metrics['accuracy/top1'] == pytest.approx(
        100 * np.mean([result['pred_label'] == result['gt_label'] for result in results])
    )
    assert len(list((tmp_path / 'pictures').iterdir())) == 12


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'model.num_classes': 1000},
            r'the data set has 6 classes \(circle, .*\), model.num_classes is 1000',
        ),
        (
            {'train_dataloader.batch_size': 128},
            'has 24 images, less than one batch, .*make batch_size smaller',
        ),
    ],
)
def test_tools_say_what_is_wrong(load_small, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        tool('train').main(arguments(load_small('crossformer_t_imagenet', **changes), tmp_path))


def test_other_class_folders_are_named(load_small, miniature, tmp_path):
    """Labels count folders: the same number of them under other names would be scored against the wrong classes."""
    data = shutil.copytree(miniature, tmp_path / 'data')
    cfg = load_small('crossformer_s_imagenet', **{'train_cfg.max_epochs': 1})
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(data)
    tool('train').main(arguments(cfg, tmp_path))
    first = sorted(CLASSES)[0]
    last = sorted(CLASSES)[-1]
    (data / 'val' / last).rename(data / 'val' / 'aardvark')
    cfg.experiment_name = new_name()
    with pytest.raises(
        InputError,
        match=f'data/val: .* than those of .*data/train: label 0 is aardvark .* {first} t',
    ):
        tool('train').main(arguments(cfg, tmp_path))
    config, *rest = arguments(cfg, tmp_path)
    with pytest.raises(
        InputError,
        match=f'data/val: .* than those of .*epoch_1.pth: label 0 is aardvark .* {first} t',
    ):
        tool('test').main([config, str(tmp_path / 'work' / 'epoch_1.pth'), *rest])


def test_writing_a_miniature(tmp_path, capsys):
    tool('quickstart/write_miniature').main(['imagenet', str(tmp_path / 'a'), '--images', '1', '1'])
    assert 'SETDET_IMAGENET=' in capsys.readouterr().out
    assert len(list((tmp_path / 'a').glob('*/*/*.JPEG'))) == 12
    tool('quickstart/write_miniature').main(['imagenet', str(tmp_path / 'b'), '--images', '2', '1'])
    for file in (tmp_path / 'a').glob('*/*/*.JPEG'):
        assert file.read_bytes() == (tmp_path / 'b' / file.relative_to(tmp_path / 'a')).read_bytes()
