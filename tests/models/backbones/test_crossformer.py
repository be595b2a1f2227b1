"""CrossFormer: equal to its authors' code at every size that theirs accepts, and usable at the others."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from benchmarks import ROWS, Options, measure
from golden import crossformer_cases as cases
from helpers.configs import CONFIGS
from helpers.crossformer import SMALL, small, sum_of_squares
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_setdet.checkpoints.convert import convert
from mmdet_setdet.checkpoints.families import candidates, guess
from mmdet_setdet.errors import InputError
from mmdet_setdet.models.backbones import CrossFormer
from mmdet_setdet.models.backbones.crossformer import ATTENTIONS, POSITIONS
from mmdet_setdet.models.layers import fast

built = lru_cache(maxsize=1)(cases.build)  # for the sizes of an arch, which follow each other


@pytest.fixture(scope='module')
def golden():
    with np.load(cases.FILE) as arrays:
        return dict(arrays)


def assert_close(got, expected):
    got = cases.thinned(got)
    np.testing.assert_allclose(got[1:], expected[1:], rtol=0, atol=1e-4)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('size', cases.SIZES, ids=str)
@pytest.mark.parametrize('arch', cases.ARCHS)
def test_maps_equal_the_authors(golden, arch, size):
    maps = built(arch)(cases.images(size))
    for number, stage_map in enumerate(maps):
        expected = golden[f'{cases.entry(arch, size)}{number}']
        assert expected[1:].std() > 0.3, 'would prove nothing'
        assert_close(stage_map, expected)


@torch.no_grad()
@pytest.mark.parametrize('size', cases.FIRST_SIZES, ids=str)
def test_maps_equal_those_of_the_first_release(size):
    """Its long distance groups span the map, and its groups in narrow maps are squares."""
    model = cases.build('small', attention='short-long-map')
    count = 1 if max(size) > 400 else 2
    maps = model(cases.images(size, count))
    with np.load(cases.FIRST_FILE) as golden:
        for number, stage_map in enumerate(maps):
            assert_close(stage_map, golden[f'{cases.entry("small", size)}{number}'])


@torch.no_grad()
@pytest.mark.parametrize('arch', cases.CLASSIFIED)
def test_logits_equal_the_authors(golden, arch):
    model = cases.build(arch, out_indices=(3,), final_norm=True)
    got = cases.thinned(cases.logits(model), 100)
    np.testing.assert_allclose(got[1:], golden[f'{arch} logits'][1:], rtol=0, atol=1e-4)


def test_gradients_equal_the_authors(golden):
    arch, size = cases.GRADIENTS
    model = cases.build(arch)
    gradients = cases.gradients(model(cases.images(size)), dict(model.named_parameters()))
    for name, gradient in gradients.items():
        expected = golden[f'gradient of {name}']
        largest = abs(expected[1:]).max()
        np.testing.assert_allclose(cases.thinned(gradient), expected, rtol=0, atol=1e-3 * largest)


MILLION_PARAMETERS = {
    'tiny': 27.8,
    'small': 30.7,
    'base': 52.0,
    'large': 92.0,
    'plus-small': 23.3,
    'plus-base': 52.0,
    'plus-large': 92.0,
    'plus-huge': 96.0,
}
# Of plus-small 4.9 are published, but its authors' own code counts 4.39.
BILLION_OPERATIONS = {
    'tiny': 2.9,
    'small': 4.9,
    'base': 9.2,
    'large': 16.1,
    'plus-small': 4.39,
    'plus-base': 9.5,
    'plus-large': 16.6,
    'plus-huge': 21.8,
}


def classifier_without_memory(arch):
    with torch.device('meta'):
        return CrossFormer(arch, out_indices=(3,), final_norm=True)


@pytest.mark.parametrize('arch', cases.ARCHS)
def test_parameters_as_published(golden, arch):
    model = classifier_without_memory(arch)
    count = sum(parameter.numel() for parameter in model.parameters())
    count += 1000 * (model.norm.weight.numel() + 1)  # the classifier's
    assert count == golden[f'{arch} parameters']
    assert round(count / 1e6, 1) == MILLION_PARAMETERS[arch]


@pytest.mark.parametrize('arch', cases.ARCHS)
def test_operations_as_published(golden, arch):
    with torch.device('meta'):
        operations = cases.operations(classifier_without_memory(arch))
    assert operations / 1e9 == pytest.approx(BILLION_OPERATIONS[arch], rel=0.02)
    assert operations == pytest.approx(golden[f'{arch} operations'], rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize('compiled', [False, True])
def test_output_does_not_depend_on_images_before(compiled):
    if compiled:  # one stage, for each size is traced again
        arch = dict(embed_dims=32, depths=(2,), group_sizes=(7,), intervals=(2,))
        model = small(arch=arch, out_indices=(0,))
        forward = torch.compile(model, backend='eager', dynamic=False)
    else:
        model = forward = small()
    x = cases.images((64, 96))
    before = forward(x)
    forward(cases.images((28, 28)))
    after = forward(x)
    for first, second, eager in zip(before, after, model(x), strict=True):
        assert first.equal(second)
        torch.testing.assert_close(first, eager, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize('size', [(96, 160), (50, 70)])
def test_image_alone_and_in_a_batch(size):
    model = small()
    x = cases.images(size, 3)
    for together, alone in zip(model(x), model(x[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('size', [(1, 1), (3, 50), (37, 45), (64, 65), (101, 33), (130, 20)])
def test_sizes_that_the_authors_refuse(size):
    maps = small()(cases.images(size))
    expected = [max(side // 4, 1) for side in size]
    for stage_map in maps:
        assert list(stage_map.shape[2:]) == expected
        assert stage_map.isfinite().all()
        expected = [-(-side // 2) for side in expected]


@pytest.mark.parametrize('enabled', [True, False])
@pytest.mark.parametrize('training', [True, False])
def test_fast_paths_change_no_number(training, enabled, monkeypatch):
    monkeypatch.setattr(fast.chunks, 'CACHED_FLOATS', 2**12)
    model = small(drop_path_rate=0.5).train(training)
    x = cases.images((64, 96))
    with fast.use_fast_paths(enabled):
        torch.manual_seed(1)
        maps = model(x)
        gradients = torch.autograd.grad(sum_of_squares(maps), list(model.parameters()))
    with fast.use_fast_paths(False):
        torch.manual_seed(1)
        expected_maps = model(x)
        expected = torch.autograd.grad(sum_of_squares(expected_maps), list(model.parameters()))
    for a, b in zip([*maps, *gradients], [*expected_maps, *expected], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('attention', ATTENTIONS)
@pytest.mark.parametrize('cached_floats', [2**12, 2**30])
def test_no_stage_overwrites_its_input(attention, cached_floats, monkeypatch):
    monkeypatch.setattr(fast.chunks, 'CACHED_FLOATS', cached_floats)
    model = small(attention=attention, position='none')
    for size in ((20, 24), (5, 5)):
        x = torch.randn(2, *size, 32)
        before = x.clone()
        y = model.layers[0](x)
        assert x.equal(before)
        assert not y.equal(before)


def cannot_be_combined(attention, position):
    grows = attention == 'pvt' and position in ('dynamic', 'dynamic-residual', 'relative')
    return grows or (attention == 'short-long-map' and position == 'relative')


@pytest.mark.parametrize('attention', ATTENTIONS)
@pytest.mark.parametrize('position', POSITIONS)
def test_ablations(attention, position):
    options = dict(attention=attention, position=position, patch_sizes=(4,), merge_sizes=(2,))
    if cannot_be_combined(attention, position):
        with pytest.raises(InputError, match='groups grow with the image'):
            small(**options)
        return
    model = small(**options).train()
    for size in ((96, 70), (32, 32)):
        sum_of_squares(model(cases.images(size))).backward()
    for name, parameter in model.named_parameters():
        if parameter.numel() > 64:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_positions_matter_only_where_they_are_given():
    x = cases.images((64, 64), 1)
    mirrored = {}
    for position in ('none', 'relative'):
        model = small(position=position, patch_sizes=(4,), merge_sizes=(2,))
        mirrored[position] = model(x.flip(-1))[0].flip(-1)
    assert not torch.allclose(mirrored['relative'], mirrored['none'])
    model = small(position='absolute', pretrain_img_size=64)
    assert model.absolute_pos_embed.shape == (1, 256, 32)
    assert not model(x)[0].equal(small()(x)[0])


def test_frozen_stages():
    model = small(frozen_stages=2).train()
    sum(stage_map.mean() for stage_map in model(cases.images((64, 64)))).backward()
    for name, parameter in model.named_parameters():
        is_frozen = name.startswith(('patch_embed.', 'layers.0.', 'layers.1.'))
        assert (parameter.grad is None) == is_frozen, name
    assert not model.layers[1].training
    assert model.layers[2].training


def test_checkpointing_gives_the_same_gradients():
    x = cases.images((64, 96))
    gradients = []
    for with_cp in (False, True):
        model = small(with_cp=with_cp, drop_path_rate=0.5).train()
        torch.manual_seed(1)
        sum_of_squares(model(x)).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-5, atol=1e-7)


def test_out_indices_build_what_is_needed():
    model = small(out_indices=(0, 2), final_norm=True)
    assert len(model.layers) == 3
    assert model.layers[2].downsample is None
    assert model.norm.weight.shape == (128,)
    maps = model(cases.images((64, 64)))
    assert [stage_map.shape[1:] for stage_map in maps] == [(32, 16, 16), (128, 4, 4)]
    sum_of_squares(maps).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_starts_as_the_authors_do():
    model = CrossFormer(SMALL, position='relative')
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.ones_(module.bias)
    model.init_weights()
    linear = model.layers[3].blocks[0].mlp.fc1
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not linear.bias.any()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='smal'), "arch='smal'.*tiny"),
        (dict(attention='long'), 'short-long'),
        (dict(position='sine'), 'dynamic'),
        (dict(group_sizes=(7, 7)), 'give 4 positive'),
        (dict(intervals=(8, 4, 2, 0)), 'give 4 positive'),
        (dict(arch=dict(embed_dims=40, depths=(1, 1, 1, 1))), 'multiple'),
        (dict(arch=dict(embed_dims=32, depth=(1, 1, 1, 1))), 'wrong or missing: depths?, depths?'),
        (dict(out_indices=(4,)), '4 stages'),
        (dict(out_indices=()), '4 stages'),
        (dict(frozen_stages=5), '4 stages'),
    ],
)
def test_errors_say_what_to_do(options, message):
    with pytest.raises(InputError, match=message):
        CrossFormer(**options)


def numbered_weights(config):
    """Weights of a config's model, each filled with a number of its own, and hardly any memory."""
    cfg = Config.fromfile(CONFIGS / config)
    with torch.device('meta'):
        state_dict = MODELS.build(cfg.model).state_dict()
    weights = {}
    for number, (name, value) in enumerate(state_dict.items()):
        weights[name] = torch.full((1,), float(number)).expand(value.shape)
    return weights


def first_numbers(weights):
    return {name: value.flatten()[0].item() for name, value in weights.items()}


@pytest.mark.parametrize(
    'config', ['crossformer_t_imagenet.py', 'retinanet_crossformer_s_fpn_1x.py']
)
def test_converts_the_authors_checkpoints(tmp_path, config):
    weights = numbered_weights(config)
    authors = weights
    if 'imagenet' in config:
        authors = {name.removeprefix('backbone.'): value for name, value in weights.items()}
        authors['layers.0.blocks.0.attn.biases'] = torch.zeros(9, 2)
        authors['layers.0.blocks.0.attn_mask'] = torch.zeros(4)
    assert guess(authors) == 'crossformer'
    assert config.removesuffix('.py') in candidates('crossformer', authors)
    torch.save(dict(model=authors), tmp_path / 'authors.pth')
    checkpoint, family, configs = convert(str(tmp_path / 'authors.pth'), config=config)
    assert family == 'crossformer'
    assert configs == [config]
    assert first_numbers(checkpoint['state_dict']) == first_numbers(weights)


def test_distributed_as_usually_used(tmp_path):
    """No parameter is left without a gradient, and small images leave no trace."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1
    )
    try:
        model = torch.nn.parallel.DistributedDataParallel(small(drop_path_rate=0.0).train())
        x = cases.images((64, 96))
        results = []
        for images in (x, cases.images((32, 32)), x):
            model.zero_grad()
            maps = model(images)
            sum_of_squares(maps).backward()
            gradients = [parameter.grad.clone() for parameter in model.parameters()]
            results.append([*maps, *gradients])
    finally:
        torch.distributed.destroy_process_group()
    for before, after in zip(results[0], results[2], strict=True):
        assert before.equal(after)


@pytest.mark.parametrize('row', ['backbone', 'backbone-growth'])
def test_benchmark_rows(row):
    options = Options(repeats=1, size=(32, 32), model=dict(arch='tiny'))
    measured = []
    for case in ROWS[row](options):
        measured += measure(row, case, 1, 'cpu', warmup=0)
    assert {m.peer for m in measured} >= {'matrix products'}
    assert len({m.case for m in measured}) == 2
    assert all(m.max_abs_diff < 1e-4 for m in measured if m.peer == "authors'")
    assert all(m.ours_peak_mib > 0 for m in measured)
